/** @returns the SQLSTATE or system error code that an error carries, or "" */
export function errorCode(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : "";
}

/** @returns the message of an error, followed by its code unless the message contains it, as those of sockets do */
export function messageWithCode(error: Error): string {
  const code = errorCode(error);
  return error.message.includes(code) ? error.message : `${error.message} (${code})`;
}

/** Why a connection failed. */
export type ConnectionFailure =
  | "unreachable"
  | "starting"
  | "wrong-password"
  | "insecure"
  | "tls"
  | "no-database"
  | "refused"
  | "lost";

const failures: Readonly<Record<string, ConnectionFailure>> = {
  ECONNREFUSED: "unreachable",
  ECONNRESET: "unreachable",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  ENOTFOUND: "unreachable",
  EAI_AGAIN: "unreachable",
  ETIMEDOUT: "unreachable",
  CONNECT_TIMEOUT: "unreachable",
  NOT_RUNNING: "unreachable",
  OTHER_SERVER: "unreachable",
  EPIPE: "lost",
  CONNECTION_CLOSED: "lost",
  CONNECTION_ENDED: "lost",
  CONNECTION_DESTROYED: "lost",
  "57P01": "lost",
  "57P02": "lost",
  "57P05": "lost",
  "57P03": "starting",
  "53300": "starting",
  PROTOCOL_VIOLATION: "refused",
  UNSUPPORTED_AUTHENTICATION: "refused",
  "08P01": "refused",
  "28000": "wrong-password",
  "28P01": "wrong-password",
  "3D000": "no-database",
  INSECURE_AUTHENTICATION: "insecure",
  TLS_NOT_OFFERED: "tls",
  TLS_CERTIFICATE: "tls",
  TLS_ROOT_CERT: "tls",
  TLS_UNEXPECTED_DATA: "tls",
  TLS_FAILED: "tls",
};

/** @returns why the connection failed; undefined if the error is not about the connection */
export function connectionFailure(error: unknown): ConnectionFailure | undefined {
  return failures[errorCode(error)] ?? (isFatal(error) ? "refused" : undefined);
}

/** Whether pg_hba.conf allows no login from this client; the same code also means that the role may not log in. */
export function isClientRejected(error: unknown): boolean {
  return errorCode(error) === "28000" && (error as { readonly routine?: string }).routine === "ClientAuthentication";
}

/** Whether the server is unavailable and may come back. A pool that was closed on purpose does not count. */
export function isServerUnavailable(error: unknown): boolean {
  if (errorCode(error) === "CONNECTION_ENDED") return false;
  return ["unreachable", "starting", "lost"].includes(connectionFailure(error) ?? "");
}

/** A race with other sessions: a serialisation failure, a deadlock, a lock timeout. A retry may succeed. */
export function isConflict(error: unknown): boolean {
  return ["40001", "40P01", "55P03"].includes(errorCode(error));
}

/** The server lacks resources (53) or an operator intervened (57): the statement is not the cause. */
export function isServerTrouble(error: unknown): boolean {
  return /^5[37]...$/.test(errorCode(error));
}

/** The statement does not match the database (42): a table, column or privilege is missing. */
export function isMisfit(error: unknown): boolean {
  return /^42...$/.test(errorCode(error));
}

/** Whether the error was sent by the server rather than raised by the client. */
export function isFromServer(error: unknown): boolean {
  return typeof (error as { severity?: unknown } | null | undefined)?.severity === "string";
}

/** The server ended the session, for example because a start-up setting names a role that does not exist. */
function isFatal(error: unknown): boolean {
  return (error as { severity?: unknown } | null | undefined)?.severity === "FATAL";
}
