import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode } from "../postgres/failure.ts";
import { type Finding, notYet } from "./target.ts";

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  ConnectionRefused: "nobody listens there",
  ECONNRESET: "the connection was cut",
  EPIPE: "the connection was cut",
  ENOTFOUND: "there is no host of this name",
  EAI_AGAIN: "there is no host of this name",
  EHOSTUNREACH: "there is no way to this host",
  ENETUNREACH: "there is no way to this host",
  ETIMEDOUT: "the host does not answer",
};

/**
 * Judges an error of a socket.
 *
 * @returns a finding for what may mend itself
 * @throws {ScriptError} `TLS` (exit 2) for what does not; and whatever is no error of a connection
 */
export function judgeSocketError(error: unknown, target: string): Finding {
  const code = errorCode(error);
  const { message, name } = error as Error;
  if (name === "NotCapable") throw error;
  if (code === "EPERM") throw notPermitted(target, message);
  if (isTlsError(code, message)) throw tlsMismatch(target, `${message}${code === "" ? "" : ` (${code})`}`);
  const text = words[code] ?? message;
  return notYet(code === "" || text.includes(code) ? text : `${text} (${code})`);
}

/** @returns the error of two sides that disagree about TLS, or about a certificate */
export function tlsMismatch(target: string, why: string): ScriptError {
  return new ScriptError({
    code: "TLS",
    exitCode: exitCodes.usage,
    message: `${target} and this side do not agree about TLS`,
    why,
    fix: "Correct the scheme or the sslmode, or give the certificate's authority (NODE_EXTRA_CA_CERTS).",
  });
}

/** Deno answers so when the name of a host is not among what it may ask; a firewall of this machine may as well. */
function notPermitted(target: string, why: string): ScriptError {
  return new ScriptError({
    code: "NOT_PERMITTED",
    exitCode: exitCodes.prerequisite,
    message: `This process may not connect to ${target}`,
    why,
    fix: "On Deno, give --allow-net for this host.",
  });
}

/** OpenSSL, BoringSSL (Bun) and rustls (Deno) have different codes; Deno's have none. */
function isTlsError(code: string, message: string): boolean {
  return /CERT|SSL|TLS|EPROTO/.test(code) || /certificate|InvalidContentType|wrong version number/i.test(message);
}
