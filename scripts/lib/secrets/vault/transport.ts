import { readFile } from "node:fs/promises";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { toVaultFailure, VaultFailure } from "./failure.ts";

/** Where a Vault is. */
export interface VaultAddress {
  /** `https://vault.example:8200` */
  readonly address: string;
  readonly namespace?: string | undefined;
  /** The certificate of a private authority, in PEM. */
  readonly caCertFile?: string | undefined;
  /** How long one answer may take, in milliseconds; at most ten seconds. */
  readonly requestTimeoutMs?: number;
}

/** One request. */
export interface VaultRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Below `/v1`: segments of `[A-Za-z0-9_.-]+`. */
  readonly path: string;
  readonly body?: unknown;
  readonly token?: string | undefined;
  /** Has the answer wrapped in a single-use token that lives so long: `10m`. */
  readonly wrapTtl?: string | undefined;
  /** Asks for the names below the path: Bun's fetch would make a GET of the method LIST, so this is a GET for all. */
  readonly isList?: boolean;
}

/** An answer of Vault; which of the parts there are depends on the path. */
export interface VaultBody {
  // biome-ignore lint/suspicious/noExplicitAny: each path has a shape of its own, which its caller names
  readonly data?: any;
  readonly auth?: { readonly client_token: string; readonly lease_duration: number; readonly renewable: boolean };
  readonly wrap_info?: { readonly token: string; readonly creation_path: string };
  // biome-ignore lint/suspicious/noExplicitAny: paths below sys/ answer without `data`
  readonly [key: string]: any;
}

/** Sends one request, and waits for its answer. */
export type VaultTransport = (request: VaultRequest) => Promise<VaultBody>;

const maxRequestTimeoutMs = 10_000;

/**
 * Makes the way to a Vault. This is the only module that names `hashi-vault-js`, and each line guards against one of
 * its traps: its errors carry tokens, it follows redirects with the token, it encodes no path, it only logs a
 * certificate that it can't read, and its time limit is a second. Its methods cover neither wrapping nor mounts, policies and
 * AppRoles, and `updateKVSecret` prints secrets; so all requests go through its public axios instance.
 *
 * @throws {ScriptError} `VAULT_CACERT` (exit 2)
 */
export async function openTransport(vault: VaultAddress): Promise<VaultTransport> {
  const { address, namespace, caCertFile, requestTimeoutMs = maxRequestTimeoutMs } = vault;
  if (caCertFile !== undefined) await checkReadable(caCertFile);
  const { default: Vault } = await import("hashi-vault-js");
  const { instance } = new Vault({
    https: address.startsWith("https:"),
    baseUrl: `${address.replace(/\/+$/, "")}/v1`,
    timeout: Math.min(requestTimeoutMs, maxRequestTimeoutMs),
    ...(caCertFile === undefined ? {} : { cacert: caCertFile }),
    ...(namespace === undefined ? {} : { namespace }),
  }) as unknown as { readonly instance: AxiosInstance };
  instance.defaults.maxRedirects = 0;
  return async ({ method, path, body, token, wrapTtl, isList }) => {
    checkPath(path);
    const headers = {
      ...(token === undefined ? {} : { "X-Vault-Token": token }),
      ...(wrapTtl === undefined ? {} : { "X-Vault-Wrap-TTL": wrapTtl }),
    };
    try {
      const { status, data } = await instance.request({
        method,
        url: path,
        headers,
        ...(body === undefined ? {} : { data: body }),
        ...(isList === true ? { params: { list: "true" } } : {}),
      });
      if (typeof data === "object" && data !== null) return data as VaultBody;
      if (status === 204) return {};
      // A page of another server, or an answer that was cut off.
      throw new VaultFailure({ kind: "network", code: "NOT_VAULT" });
    } catch (error) {
      throw toVaultFailure(error);
    }
  };
}

interface AxiosInstance {
  readonly defaults: { maxRedirects: number };
  request(options: Readonly<Record<string, unknown>>): Promise<{ readonly status: number; readonly data: unknown }>;
}

/** A segment of dots would leave the path it stands in: `../../sys/seal-status` was read that way. */
function checkPath(path: string): void {
  const segments = path.split("/");
  const isSafe = segments.every((segment) => /^[A-Za-z0-9_.-]+$/.test(segment) && segment !== "." && segment !== "..");
  if (!isSafe) throw new Error("not a path of Vault");
}

async function checkReadable(file: string): Promise<void> {
  const pem = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => error.code ?? "unreadable");
  if (pem.includes("BEGIN CERTIFICATE")) return;
  throw new ScriptError({
    code: "VAULT_CACERT",
    exitCode: exitCodes.usage,
    message: `${file} is no certificate`,
    why: /^[A-Z]{3,}$/.test(pem) ? `It can't be read (${pem}).` : "It holds no PEM block of a certificate.",
    fix: "Let VAULT_CACERT name the PEM file of the authority that signed Vault's certificate.",
  });
}
