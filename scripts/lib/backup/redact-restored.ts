import { type ConnectionTarget, openConnection, type Sql } from "../postgres/connect.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import type { RunContext } from "../stack/stack.ts";
import { redactAgain } from "./redactions.ts";

/**
 * Redacts in a restored database what was redacted in the live one after the archive was written.
 *
 * @param maintenance a session in another database of the server
 * @param live where events were redacted; nothing happens when there is no such database, or it has no event store
 * @returns the number of events that were redacted
 */
export async function redactRestored(
  maintenance: Sql,
  live: ConnectionTarget,
  restored: ConnectionTarget,
  { signal }: RunContext,
): Promise<number> {
  const [row] = await maintenance`select from pg_catalog.pg_database where datname = ${live.database}`;
  if (row === undefined) return 0;
  const options = { applicationName: "cqrs-postgres restore", role: groupRoles.owner, signal };
  await using from = openConnection(live, options);
  await using to = openConnection(restored, options);
  return await redactAgain(from.sql, to.sql);
}
