import { type HttpAnswer, type HttpOptions, probeHttp } from "./http.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** The meaning of each status of `sys/health`, as Vault and OpenBao document it. */
const reasons: Readonly<Record<number, string>> = {
  429: "it is a standby",
  472: "it is a disaster recovery secondary",
  473: "it is a performance standby",
  501: "it is not initialised",
  503: "it is sealed",
};

/** A Vault (or OpenBao) that is initialised and unsealed. */
export function vaultTarget(address: URL, options: HttpOptions = {}): WaitTarget {
  const name = `vault at ${address.origin}`;
  const url = new URL("/v1/sys/health", address);
  return { name, probe: (signal) => probeHttp({ ...options, url, name }, judge, signal) };
}

function judge({ status }: HttpAnswer): Finding {
  return status === 200 ? usable : notYet(reasons[status] ?? `it responds with ${status}, which Vault would not`);
}
