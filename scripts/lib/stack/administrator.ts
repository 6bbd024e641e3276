import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { type Administrator, readAdministrator } from "../postgres/logins/roles.ts";
import { requirePrimary } from "../postgres/primary.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { administratorTarget, type RunContext, type Stack } from "./stack.ts";

/** A session that can change roles, and its login. */
export interface AdministratorSession {
  readonly sql: Sql;
  readonly administrator: Administrator;
}

/**
 * Does work in a session of the server's administrator.
 *
 * @throws {ScriptError} for the errors of {@link administratorTarget} and of the connection
 */
export async function withAdministrator<Result>(
  stack: Stack,
  run: RunContext,
  applicationName: string,
  work: (session: AdministratorSession, target: ConnectionTarget) => Promise<Result>,
): Promise<Result> {
  const target = await administratorTarget(stack);
  await using connection = openConnection(target, { applicationName, signal: run.signal });
  try {
    await requirePrimary(connection.sql, target);
    return await work(await openSession(connection.sql), target);
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** Prepares a connection for administration: statements that set a password stay out of the server's log. */
export async function openSession(sql: Sql): Promise<AdministratorSession> {
  const administrator = await readAdministrator(sql);
  if (administrator.isSuperuser) await stopLogging(sql);
  return { sql, administrator };
}

/** Only a superuser can change these settings. */
async function stopLogging(sql: Sql): Promise<void> {
  await sql`select pg_catalog.set_config('log_statement', 'none', false),
    pg_catalog.set_config('log_min_duration_statement', '-1', false),
    pg_catalog.set_config('log_min_error_statement', 'panic', false)`;
}
