import { readFile } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { connectionFailure, responseFailure, VaultFailure, type VaultResponse } from "./failure.ts";

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
  /** Lists the names below the path. Sent as a GET: not every HTTP client knows the method LIST. */
  readonly isList?: boolean;
  /** Also accepts the answer of a standby, which `sys/health` gives the status 429 or 473. */
  readonly acceptsStandby?: boolean;
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
 * Opens a transport to a Vault. It uses `node:https`, because `fetch` has a different way to trust a private authority
 * on each runtime. It follows no redirect, which would send the token to another server, and uses no proxy.
 *
 * @throws {ScriptError} `VAULT_CACERT` (exit 2)
 */
export async function openTransport(vault: VaultAddress): Promise<VaultTransport> {
  const { address, namespace, caCertFile, requestTimeoutMs = maxRequestTimeoutMs } = vault;
  const ca = caCertFile === undefined ? undefined : await readAuthority(caCertFile);
  const base = `${address.replace(/\/+$/, "")}/v1/`;
  const timeoutMs = Math.min(requestTimeoutMs, maxRequestTimeoutMs);
  return async (request) => {
    checkPath(request.path);
    const url = `${base}${request.path}${queryOf(request)}`;
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const headers = headersOf(request, { body, namespace });
    const signal = AbortSignal.timeout(timeoutMs);
    return readBody(await send(url, { method: request.method, headers, signal, ca }, body));
  };
}

function headersOf(
  { token, wrapTtl }: VaultRequest,
  { body, namespace }: { readonly body: string | undefined; readonly namespace: string | undefined },
): Record<string, string> {
  const content = { "Content-Type": "application/json", "Content-Length": `${Buffer.byteLength(body ?? "")}` };
  return {
    Accept: "application/json",
    ...(body === undefined ? {} : content),
    ...(namespace === undefined ? {} : { "X-Vault-Namespace": namespace }),
    ...(token === undefined ? {} : { "X-Vault-Token": token }),
    ...(wrapTtl === undefined ? {} : { "X-Vault-Wrap-TTL": wrapTtl }),
  };
}

interface SendOptions {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
  /** The authorities to trust, in PEM, in place of those of the system. */
  readonly ca: string | undefined;
}

/** @throws {VaultFailure} if there is no complete response in time; never an error that contains the request */
function send(url: string, { ca, ...options }: SendOptions, body: string | undefined): Promise<VaultResponse> {
  // Without an agent, no connection is kept open, which would delay the end of a script.
  const settings = { ...options, agent: false, ...(ca === undefined ? {} : { ca }) } as const;
  return new Promise<VaultResponse>((resolve, reject) => {
    const request = (/^https:/i.test(url) ? https : http).request(url, settings, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("close", () => reject(new Error("the connection was closed within the response")));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        resolve({ status: response.statusCode ?? 0, retryAfter: response.headers["retry-after"], body: parse(text) });
      });
    });
    request.on("error", reject);
    request.end(body);
  }).catch((error: unknown) => {
    throw connectionFailure(error, options.signal.aborted);
  });
}

/** @throws {VaultFailure} for a status other than 2xx, and for a response that is not Vault's */
function readBody(response: VaultResponse): VaultBody {
  const { status, body } = response;
  if (status < 200 || status > 299) throw responseFailure(response);
  if (typeof body === "object" && body !== null) return body as VaultBody;
  if (status === 204) return {};
  // A page from another server, or a truncated response.
  throw new VaultFailure({ kind: "network", code: "NOT_VAULT" });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function queryOf({ isList = false, acceptsStandby = false }: VaultRequest): string {
  if (isList) return "?list=true";
  return acceptsStandby ? "?standbyok=true&perfstandbyok=true" : "";
}

/** A segment of dots would escape the path, as in `../../sys/seal-status`. */
function checkPath(path: string): void {
  const segments = path.split("/");
  const isSafe = segments.every((segment) => /^[A-Za-z0-9_.-]+$/.test(segment) && segment !== "." && segment !== "..");
  if (!isSafe) throw new Error("not a valid path in Vault");
}

async function readAuthority(file: string): Promise<string> {
  const pem = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => error.code ?? "unreadable");
  if (pem.includes("BEGIN CERTIFICATE")) return pem;
  throw new ScriptError({
    code: "VAULT_CACERT",
    exitCode: exitCodes.usage,
    message: `${file} is not a certificate`,
    why: /^[A-Z]{3,}$/.test(pem) ? `It cannot be read (${pem}).` : "It contains no PEM certificate.",
    fix: "Set VAULT_CACERT to the PEM file of the authority that signed Vault's certificate.",
  });
}
