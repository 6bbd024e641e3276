import { type Connection, type ConnectionOptions, type ConnectionTarget, openConnection } from "./connect.ts";
import { explainConnectionError } from "./explain.ts";
import { connectionFailure } from "./failure.ts";

/** Databases to be in while another one is made, renamed or dropped. */
const maintenanceDatabases = ["postgres", "template1"];

/**
 * Connects to a database of the server that is not an application's.
 *
 * @throws {ScriptError} `NOT_READY` (exit 3), `AUTHENTICATION` (exit 6)
 */
export async function connectForMaintenance(target: ConnectionTarget, options: ConnectionOptions): Promise<Connection> {
  for (const database of maintenanceDatabases) {
    const connection = openConnection({ ...target, database }, options);
    try {
      await connection.sql`select 1`;
      return connection;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      const isLast = database === maintenanceDatabases.at(-1);
      if (isLast || connectionFailure(error) !== "no-database") throw explainConnectionError(error, target);
    }
  }
  throw new Error("unreachable: the last database either connects or throws");
}
