import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode } from "../postgres/failure.ts";
import { tlsFailure } from "../postgres/tls-failure.ts";
import { notYet, type Obstacle } from "./target.ts";

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ConnectionRefused: "nothing listens there",
  ECONNRESET: "the connection was closed",
  EPIPE: "the connection was closed",
  ENOTFOUND: "no host has this name",
  EAI_AGAIN: "no host has this name",
  EHOSTUNREACH: "this host cannot be reached",
  ENETUNREACH: "this host cannot be reached",
  ETIMEDOUT: "the host does not answer",
  CONNECTION_CLOSED: "the connection was closed",
};

/**
 * Judges an error of a socket.
 *
 * @returns a finding if waiting may help
 * @throws {ScriptError} `TLS` (exit 2) or `NOT_PERMITTED` (exit 9) if it cannot; the error itself if Deno lacks a
 * permission
 */
export function judgeSocketError(error: unknown, target: string): Obstacle {
  const code = errorCode(error);
  const { message, name } = error as Error;
  if (name === "NotCapable") throw error;
  if (code === "EPERM") throw notPermitted(target, message);
  if (isTlsError(code, message)) throw tlsFailure(target, error as Error, exitCodes.usage);
  const text = reasons[code] ?? message;
  return { ...notYet(code === "" || text.includes(code) ? text : `${text} (${code})`), isUnreachable: true };
}

/** Deno's error if it lacks permission for this host; a local firewall can cause the same error. */
function notPermitted(target: string, why: string): ScriptError {
  return new ScriptError({
    code: "NOT_PERMITTED",
    exitCode: exitCodes.prerequisite,
    message: `This process is not allowed to connect to ${target}`,
    why,
    fix: "On Deno, pass --allow-net for this host. Otherwise, check this machine's firewall.",
  });
}

/** OpenSSL and BoringSSL (Bun) use different codes; errors of rustls (Deno) have none. */
function isTlsError(code: string, message: string): boolean {
  return /CERT|SSL|TLS|EPROTO/.test(code) || /certificate|InvalidContentType|wrong version number/i.test(message);
}
