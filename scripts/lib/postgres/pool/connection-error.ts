import { hostAndPort } from "../../server-url.ts";
import type { ConnectionTarget } from "../target.ts";

const connectionProblems = {
  CONNECT_TIMEOUT: "did not complete the login in time",
  CONNECTION_CLOSED: "closed the connection",
  CONNECTION_DESTROYED: "was disconnected by this program",
  CONNECTION_ENDED: "is no longer connected to, because the pool was closed",
} as const;

/** @returns an error with one of the codes that the driver uses */
export function connectionError(
  code: keyof typeof connectionProblems,
  target: ConnectionTarget,
  detail?: string,
): Error {
  const message = `${hostAndPort(target)} ${connectionProblems[code]}${detail === undefined ? "" : `: ${detail}`}`;
  return Object.assign(new Error(message), { code });
}

/** The server asks for the password in a form that any program could use. */
export function insecureAuthentication(target: ConnectionTarget, how: string, mustProve: boolean): Error {
  const message = `${hostAndPort(target)} asks for the password ${how} over a connection without TLS; it was not sent`;
  return Object.assign(new Error(message), { code: "INSECURE_AUTHENTICATION", mustProve });
}

/** The server accepts a login without the password: it may be any program. */
export function unprovenServer(target: ConnectionTarget): Error {
  const message = `${hostAndPort(target)} accepts the login without SCRAM, so it may be another program; nothing was sent`;
  return Object.assign(new Error(message), { code: "INSECURE_AUTHENTICATION", mustProve: true });
}

/** The server asks for an authentication that the driver cannot give. */
export function unsupportedAuthentication(target: ConnectionTarget, kind: number): Error {
  const message = `${hostAndPort(target)} asks for an authentication that is not supported (${kind}); use SCRAM`;
  return Object.assign(new Error(message), { code: "UNSUPPORTED_AUTHENTICATION" });
}

/** The server has broken the rules of the protocol. */
export function protocolError(target: ConnectionTarget): Error {
  return Object.assign(new Error(`${hostAndPort(target)} does not speak the PostgreSQL protocol`), {
    code: "PROTOCOL_VIOLATION",
  });
}
