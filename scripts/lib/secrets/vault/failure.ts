/** The kinds of failure. */
export type VaultFailureKind = "network" | "timeout" | "certificate" | "http";

/**
 * The failure of one request, as plain strings and numbers.
 *
 * An error of an HTTP client may contain the request: the token, the body, every header. None is kept, not even as the
 * cause, because printing an error prints its cause too.
 */
export class VaultFailure extends Error {
  override readonly name = "VaultFailure";
  readonly kind: VaultFailureKind;
  /** The HTTP status; 0 if there was no response. */
  readonly status: number;
  /** The network error's code, such as `ECONNREFUSED`; empty if there was a response. */
  readonly code: string;
  /** Vault's message, with tokens masked. */
  readonly text: string;
  /** `Retry-After` in milliseconds; 0 if it is absent. */
  readonly retryAfterMs: number;
  /** The newest version of a soft-deleted secret; 0 for other failures. */
  readonly deletedVersion: number;

  constructor(facts: Partial<Omit<VaultFailure, "name" | "message">> & { readonly kind: VaultFailureKind }) {
    super(facts.text || facts.code || `HTTP ${facts.status}`);
    this.kind = facts.kind;
    this.status = facts.status ?? 0;
    this.code = facts.code ?? "";
    this.text = facts.text ?? "";
    this.retryAfterMs = facts.retryAfterMs ?? 0;
    this.deletedVersion = facts.deletedVersion ?? 0;
  }
}

/** The code of a failure because the local Vault is not running. */
export const notRunning = "NOT_RUNNING";

const maxTextLength = 300;
/** Tokens of Vault and OpenBao; the older form has no fixed length. */
const tokens = /\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}/g;

/** A response of any status. */
export interface VaultResponse {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** Parsed; undefined if it is not JSON. */
  readonly body: unknown;
}

interface ErrorBody {
  readonly errors?: unknown;
  readonly data?: { readonly metadata?: { readonly version?: unknown } };
}

/** @returns what a response that refuses the request says */
export function responseFailure({ status, retryAfter, body }: VaultResponse): VaultFailure {
  const { errors, data } = (body ?? {}) as ErrorBody;
  return new VaultFailure({
    kind: "http",
    status,
    text: readErrors(errors),
    retryAfterMs: (Number(retryAfter) || 0) * 1000,
    deletedVersion: Number(data?.metadata?.version) || 0,
  });
}

/**
 * Converts an error of a request without a response.
 *
 * @param isTooLate whether the time limit ended it; each runtime then raises a different error
 */
export function connectionFailure(error: unknown, isTooLate: boolean): VaultFailure {
  const { code, message } = (error ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  const text = typeof message === "string" ? message : "";
  const name = typeof code === "string" ? code : "";
  if (isCertificateProblem(name, text)) return new VaultFailure({ kind: "certificate", code: name, text: clean(text) });
  const kind = isTooLate || name === "ETIMEDOUT" ? "timeout" : "network";
  return new VaultFailure({ kind, code: name || clean(text) });
}

/** Node.js and Bun name it in the code, Deno in the text. */
function isCertificateProblem(code: string, text: string): boolean {
  return /CERT|SIGNATURE|^ERR_TLS/.test(code) || /certificate|UnknownIssuer/i.test(text);
}

function readErrors(errors: unknown): string {
  return Array.isArray(errors) ? clean(errors.filter((entry) => typeof entry === "string").join("; ")) : "";
}

function clean(text: string): string {
  const oneLine = text
    .replace(/\d+ errors? occurred:/g, "")
    .replace(/\s*\*\s*/g, " ")
    .replace(/\s+/g, " ")
    .trim();
  return oneLine.replaceAll(tokens, "****").slice(0, maxTextLength);
}
