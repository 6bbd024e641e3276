import { type LoginPair, loginPair } from "../login-names.ts";
import type { Sql } from "../postgres/connect.ts";
import { type Administrator, ensureRoles } from "../postgres/logins/roles.ts";
import { readTurn } from "../postgres/logins/twin.ts";
import { secretPaths } from "../secrets/application-secret.ts";
import type { Stack } from "./stack.ts";

/** A session that may change roles, and its login. */
export interface AdministratorSession {
  readonly sql: Sql;
  readonly administrator: Administrator;
}

/** Determines which login of the pair the application's secret names. */
export async function readLoginPair({ secrets, user }: Stack): Promise<LoginPair> {
  const secret = await secrets.read(secretPaths.application);
  return loginPair(user, secret?.data["username"]);
}

/** Asks PostgreSQL which login of the pair is current: the secret store may be unreachable. */
export async function findLogin(sql: Sql, user: string): Promise<string> {
  const [first, second] = [user, loginPair(user, undefined).other];
  const isSecond = (await readTurn(sql, second)).turn === "current" && (await readTurn(sql, first)).turn !== "current";
  return isSecond ? second : first;
}

/**
 * Repairs the roles and the current login of a pair. Also expires the other login if a rotation was interrupted
 * before it could.
 *
 * @returns the changes, one phrase each
 */
export async function reconcileLogins(
  { sql, administrator }: AdministratorSession,
  { current, other }: LoginPair,
  graceMs: number,
): Promise<string[]> {
  const { turn } = await readTurn(sql, current);
  // "prepared": a rotation to this login was interrupted. "ending" or "ended": the secret was lost, or an older
  // version of it was restored.
  const mustExpireOther = turn !== "current" && turn !== "absent";
  return ensureRoles(sql, administrator, current, mustExpireOther ? { name: other, graceMs } : undefined);
}

/** Keeps statements that set a password out of the server's log; only a superuser can. */
export async function keepOutOfLog({ sql, administrator }: AdministratorSession): Promise<void> {
  if (!administrator.isSuperuser) return;
  await sql`select pg_catalog.set_config('log_statement', 'none', false),
    pg_catalog.set_config('log_min_duration_statement', '-1', false),
    pg_catalog.set_config('log_min_error_statement', 'panic', false)`;
}
