import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { hostAndPort } from "../server-url.ts";
import { type Connection, type ConnectionOptions, openConnection } from "./connect.ts";
import { explainConnectionError } from "./explain.ts";
import { connectionFailure } from "./failure.ts";
import type { ConnectionTarget } from "./target.ts";

/** Databases that every server has: a session in one of them can create, rename or drop another database. */
export const maintenanceDatabases: readonly string[] = ["postgres", "template1"];

/** How to connect for maintenance. */
export interface MaintenanceOptions extends ConnectionOptions {
  /** Databases to try in this order; @default {@link maintenanceDatabases} */
  readonly candidates?: readonly string[];
}

/**
 * Connects to the first candidate that exists, whichever database the target names.
 *
 * @throws {ScriptError} `NOT_READY` or `NO_DATABASE` (exit 3), `AUTHENTICATION` (exit 6)
 */
export async function connectForMaintenance(
  target: ConnectionTarget,
  { candidates = maintenanceDatabases, ...options }: MaintenanceOptions,
): Promise<Connection> {
  for (const database of candidates) {
    const candidate = { ...target, database };
    const connection = openConnection(candidate, options);
    try {
      await connection.sql`select 1`;
      return connection;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      if (connectionFailure(error) !== "no-database") throw explainConnectionError(error, candidate);
    }
  }
  throw noCandidate(target, candidates);
}

function noCandidate(target: ConnectionTarget, candidates: readonly string[]): ScriptError {
  return new ScriptError({
    code: "NO_DATABASE",
    exitCode: exitCodes.notReady,
    message: `The server ${hostAndPort(target)} has no database for maintenance`,
    why: `None of these databases exist: ${candidates.join(", ")}.`,
    fix: "Create one of them with the server's own tools.",
  });
}
