import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isSameLogin } from "../login-names.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { type Administrator, readAdministrator } from "../postgres/logins/roles.ts";
import { requirePrimary } from "../postgres/primary.ts";
import type { ConnectionTarget, SessionTarget } from "../postgres/target.ts";
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
  const target = await requireAdministrator(stack);
  await using connection = openConnection(target, { applicationName, signal: run.signal });
  try {
    await requirePrimary(connection.sql, target);
    return await work(await openSession(connection.sql), target);
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/**
 * Finds the administrator's login. Refuses the application's own, which `status --env` exports in the variables that
 * also name the administrator.
 *
 * @throws {ScriptError} `CONFIGURATION` (exit 2), and the errors of {@link administratorTarget}
 */
export async function requireAdministrator(stack: Stack): Promise<SessionTarget> {
  const target = await administratorTarget(stack);
  const { user } = target;
  if (stack.mode !== "external" || !isSameLogin(user, stack.remembered?.user ?? stack.user)) return target;
  throw new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: `${user} is the application's login, not an administrator`,
    why: "DATABASE_URL or the PG* variables name it, as status --env exports them.",
    fix: "Set CQRS_ADMIN_URL to the administrator's URL, which takes precedence, or unset these variables.",
  });
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
