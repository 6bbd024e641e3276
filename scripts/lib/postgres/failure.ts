import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type ConnectionTarget, maskedUrl } from "./connect.ts";
import { errorCode } from "./error-code.ts";

export { errorCode };

/** Why a connection could not be made; what to do depends on it. */
export type ConnectionFailure = "unreachable" | "starting" | "wrong-password" | "no-database" | "refused" | "lost";

const failures: Readonly<Record<string, ConnectionFailure>> = {
  ECONNREFUSED: "unreachable",
  ECONNRESET: "unreachable",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  ENOTFOUND: "unreachable",
  EAI_AGAIN: "unreachable",
  ETIMEDOUT: "unreachable",
  CONNECT_TIMEOUT: "unreachable",
  EPIPE: "lost",
  CONNECTION_CLOSED: "lost",
  CONNECTION_ENDED: "lost",
  CONNECTION_DESTROYED: "lost",
  "57P01": "lost",
  "57P02": "lost",
  "57P03": "starting",
  "53300": "starting",
  "28000": "wrong-password",
  "28P01": "wrong-password",
  "3D000": "no-database",
};

/** @returns what kind of failure an error of the driver is; undefined when it is not one of the connection */
export function connectionFailure(error: unknown): ConnectionFailure | undefined {
  return failures[errorCode(error)] ?? (isFatal(error) ? "refused" : undefined);
}

/** @returns whether the server is away and may come back; a pool that the caller has closed does not */
export function isServerAway(error: unknown): boolean {
  if (errorCode(error) === "CONNECTION_ENDED") return false;
  return ["unreachable", "starting", "lost"].includes(connectionFailure(error) ?? "");
}

const diskFull = "53100";

/**
 * Makes an error for people of one that the driver threw while connecting, or that says that the server's disk is full.
 *
 * @returns the error to throw in its place: the same one when it has nothing to do with the connection
 */
export function explainConnectionError(error: unknown, target: ConnectionTarget): unknown {
  if (errorCode(error) === diskFull) return serverDiskFull(error as Error);
  const failure = connectionFailure(error);
  if (failure === undefined) return error;
  const why = `${(error as Error).message} (${errorCode(error)})`;
  if (failure === "wrong-password") {
    return new ScriptError({
      code: "AUTHENTICATION",
      exitCode: exitCodes.authentication,
      message: `PostgreSQL refuses the login ${maskedUrl(target)}`,
      why,
      fix: "bun run bootstrap sets the password again; for a server of your own check PGUSER and PGPASSWORD.",
    });
  }
  return new ScriptError({
    code: failure === "no-database" ? "NO_DATABASE" : "NOT_READY",
    exitCode: exitCodes.notReady,
    message: `Can't use ${maskedUrl(target)}`,
    why,
    fix: "bun run bootstrap",
  });
}

function serverDiskFull({ message }: Error): ScriptError {
  return new ScriptError({
    code: "SERVER_DISK_FULL",
    exitCode: exitCodes.prerequisite,
    message: "The disk of the PostgreSQL server is full",
    why: message,
    fix: "Free some space there, then run this again.",
  });
}

/** The server ended the session: it refused a start-up setting, such as a role that does not exist. */
function isFatal(error: unknown): boolean {
  return (error as { severity?: unknown } | null)?.severity === "FATAL";
}
