import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode } from "../postgres/failure.ts";
import { type Finding, notYet } from "./target.ts";

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ConnectionRefused: "nothing listens there",
  ECONNRESET: "the connection was cut",
  EPIPE: "the connection was cut",
  ENOTFOUND: "no host has this name",
  EAI_AGAIN: "no host has this name",
  EHOSTUNREACH: "this host cannot be reached",
  ENETUNREACH: "this host cannot be reached",
  ETIMEDOUT: "the host does not answer",
};

/**
 * Judges an error of a socket.
 *
 * @returns a finding if waiting may help
 * @throws {ScriptError} `TLS` (exit 2) or `NOT_PERMITTED` (exit 9) if it cannot; the error itself if Deno lacks a
 * permission
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
    fix: "Fix the scheme or the sslmode, or set NODE_EXTRA_CA_CERTS to the certificate of the authority.",
  });
}

/** Deno's answer if it was not given this host; a firewall of this machine can cause the same error. */
function notPermitted(target: string, why: string): ScriptError {
  return new ScriptError({
    code: "NOT_PERMITTED",
    exitCode: exitCodes.prerequisite,
    message: `This process may not connect to ${target}`,
    why,
    fix: "On Deno, pass --allow-net for this host.",
  });
}

/** OpenSSL, BoringSSL (Bun) and rustls (Deno) have different codes; Deno's have none. */
function isTlsError(code: string, message: string): boolean {
  return /CERT|SSL|TLS|EPROTO/.test(code) || /certificate|InvalidContentType|wrong version number/i.test(message);
}
