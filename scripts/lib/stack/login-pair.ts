import type { StepResult } from "../cli/reporter.ts";
import { type LoginPair, loginPair } from "../login-names.ts";
import type { Sql } from "../postgres/driver.ts";
import { checkLogin } from "../postgres/logins/login.ts";
import { ensureRoles } from "../postgres/logins/roles.ts";
import { readLoginState } from "../postgres/logins/twin.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { secretPaths } from "../secrets/application-secret.ts";
import type { AdministratorSession } from "./administrator.ts";
import type { Stack } from "./stack.ts";

/** Reads which login of the pair is in the application's secret. */
export async function readLoginPair({ secrets, user }: Stack): Promise<LoginPair> {
  const secret = await secrets.read(secretPaths.application);
  return loginPair(user, secret?.data["username"]);
}

/** Finds the current login of the pair in PostgreSQL, because the secret store may be unreachable. */
export async function findLogin(sql: Sql, user: string): Promise<string> {
  const [first, second] = [user, loginPair(user, undefined).other];
  const isSecond =
    (await readLoginState(sql, second)).state === "current" && (await readLoginState(sql, first)).state !== "current";
  return isSecond ? second : first;
}

/** The step of a bootstrap that checks that the application's credentials work. */
export async function checkApplicationLogin(application: ConnectionTarget): Promise<StepResult> {
  await checkLogin(application);
  return { isChanged: false, detail: `${application.user} can log in to ${application.database}` };
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
  const { state } = await readLoginState(sql, current);
  // "prepared": a rotation to this login was interrupted. "expiring" or "expired": the secret was lost, or an older
  // version of it was restored.
  const mustExpireOther = state !== "current" && state !== "absent";
  return ensureRoles(sql, administrator, current, mustExpireOther ? { name: other, graceMs } : undefined);
}
