import { readFile } from "node:fs/promises";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { toVaultFailure, VaultFailure } from "./failure.ts";

/** The address of a Vault. */
export interface VaultAddress {
  /** `https://vault.example:8200` */
  readonly address: string;
  readonly namespace?: string | undefined;
  /** A PEM file with the certificate of a private authority. */
  readonly caCertFile?: string | undefined;
  /** Time limit of each response; at most, and by default, ten seconds. */
  readonly requestTimeoutMs?: number;
}

/** One request. */
export interface VaultRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Below `/v1`: segments of `[A-Za-z0-9_.-]+`. */
  readonly path: string;
  readonly body?: unknown;
  readonly token?: string | undefined;
  /** Wraps the response in a single-use token with this lifetime, such as `10m`. */
  readonly wrapTtl?: string | undefined;
  /** Lists the names below the path. Sent as a GET, because Bun's fetch would turn the method LIST into a GET. */
  readonly isList?: boolean;
}

/** A response from Vault; its fields depend on the path. */
export interface VaultBody {
  // biome-ignore lint/suspicious/noExplicitAny: each path has its own shape, which its caller names
  readonly data?: any;
  readonly auth?: { readonly client_token: string; readonly lease_duration: number; readonly renewable: boolean };
  readonly wrap_info?: { readonly token: string; readonly creation_path: string };
  // biome-ignore lint/suspicious/noExplicitAny: paths below sys/ answer without `data`
  readonly [key: string]: any;
}

/** Sends one request and waits for the response. */
export type VaultTransport = (request: VaultRequest) => Promise<VaultBody>;

const maxRequestTimeoutMs = 10_000;

/**
 * Opens a transport to a Vault. This is the only module that imports `hashi-vault-js`, and it works around that
 * library's pitfalls: its errors contain tokens, it sends the token when it follows redirects, it does not encode
 * paths, it merely logs that a certificate is unreadable, and its timeout is one second. Its methods do not cover
 * wrapping, mounts, policies and AppRoles, and `updateKVSecret` prints secrets. So all requests go through its public
 * axios instance.
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
      // A page from another server, or a truncated response.
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

/** A segment of dots would escape the path: the library once sent `../../sys/seal-status`. */
function checkPath(path: string): void {
  const segments = path.split("/");
  const isSafe = segments.every((segment) => /^[A-Za-z0-9_.-]+$/.test(segment) && segment !== "." && segment !== "..");
  if (!isSafe) throw new Error("not a valid path in Vault");
}

async function checkReadable(file: string): Promise<void> {
  const pem = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => error.code ?? "unreadable");
  if (pem.includes("BEGIN CERTIFICATE")) return;
  throw new ScriptError({
    code: "VAULT_CACERT",
    exitCode: exitCodes.usage,
    message: `${file} is not a certificate`,
    why: /^[A-Z]{3,}$/.test(pem) ? `It cannot be read (${pem}).` : "It contains no PEM certificate.",
    fix: "Set VAULT_CACERT to the PEM file of the authority that signed Vault's certificate.",
  });
}
