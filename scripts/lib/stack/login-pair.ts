import type { Sql } from "../postgres/connect.ts";
import { type Administrator, ensureRoles } from "../postgres/logins/roles.ts";
import { readTurn } from "../postgres/logins/twin.ts";
import { type LoginPair, loginPair, secretPaths } from "../secrets/application-secret.ts";
import type { Stack } from "./stack.ts";

/** A session that may change roles, and who it is. */
export interface AdministratorSession {
  readonly sql: Sql;
  readonly administrator: Administrator;
}

/** Tells which of the two logins the application's secret names. */
export async function readLoginPair({ secrets, user }: Stack): Promise<LoginPair> {
  const secret = await secrets.read(secretPaths.application);
  return loginPair(user, secret?.data["username"]);
}

/** Tells which of the two logins is the application's, as PostgreSQL has it: the store may be away. */
export async function findLogin(sql: Sql, user: string): Promise<string> {
  const { login, twin } = loginPair(user, undefined);
  const [first, second] = [await readTurn(sql, login), await readTurn(sql, twin)];
  return first.turn !== "current" && second.turn === "current" ? twin : login;
}

/**
 * Makes the roles and the login of the secret what they are to be, and ends the turn of the other
 * one where that was left undone.
 *
 * @returns what was changed, a phrase each
 */
export async function reconcileLogins(
  { sql, administrator }: AdministratorSession,
  { login, twin }: LoginPair,
  graceMs: number,
): Promise<string[]> {
  const { turn } = await readTurn(sql, login);
  // Prepared: a rotation to it was cut off. At its end: the secret was lost, or an older version of it brought back.
  const isOthersTurn = turn !== "current" && turn !== "absent";
  return ensureRoles(sql, administrator, login, isOthersTurn ? { name: twin, graceMs } : undefined);
}

/** Statements that set a password stay out of the server's log; only a superuser may say so. */
export async function keepOutOfLog({ sql, administrator }: AdministratorSession): Promise<void> {
  if (!administrator.isSuperuser) return;
  await sql`select pg_catalog.set_config('log_statement', 'none', false),
    pg_catalog.set_config('log_min_duration_statement', '-1', false),
    pg_catalog.set_config('log_min_error_statement', 'panic', false)`;
}
