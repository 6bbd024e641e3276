import { type HttpAnswer, type HttpOptions, lookOverHttp } from "./http.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** What a status of `sys/health` means, as Vault and OpenBao document it. */
const reasons: Readonly<Record<number, string>> = {
  429: "it is a standby",
  472: "it is a secondary for disaster recovery",
  473: "it is a performance standby",
  501: "it is not initialised",
  503: "it is sealed",
};

/** A Vault (or OpenBao) that is initialised and unsealed. */
export function vaultTarget(address: URL, options: HttpOptions = {}): WaitTarget {
  const name = `vault at ${address.origin}`;
  const url = new URL("/v1/sys/health", address);
  return { name, look: (signal) => lookOverHttp({ ...options, url, name }, judge, signal) };
}

function judge({ status }: HttpAnswer): Finding {
  return status === 200 ? usable : notYet(reasons[status] ?? `it answers ${status}, which is no answer of a Vault`);
}
