import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";

/**
 * Refuses a pooler that gives each transaction another session: it would let go of the schema's lock. While another
 * client is in a transaction, such a pooler has lent it our session, or lends us another one.
 *
 * @param sql a pool of one session
 * @throws {ScriptError} `POOLER` (exit 9)
 */
export async function refusePooler(sql: Sql, target: ConnectionTarget, signal: AbortSignal): Promise<void> {
  await using other = openConnection(target, { applicationName: "cqrs-postgres schema probe", signal });
  const ours = await sessionOf(sql);
  const isKept = await inTransaction(other.sql, async (tx) => {
    return (await sessionOf(tx)) !== ours && (await sessionOf(sql)) === ours;
  });
  if (!isKept) throw poolerRefused(target);
}

async function sessionOf(sql: Sql): Promise<number> {
  const [row] = await sql<{ pid: number }[]>`select pg_catalog.pg_backend_pid() as pid`;
  return row?.pid as number;
}

function poolerRefused({ host, port }: ConnectionTarget): ScriptError {
  return new ScriptError({
    code: "POOLER",
    exitCode: exitCodes.prerequisite,
    message: `${host}:${port} is a pooler in transaction mode`,
    why: "It gives each transaction another session, so it cannot keep the lock that excludes concurrent changes.",
    fix: "Connect to the server itself, by its own host and port.",
  });
}
