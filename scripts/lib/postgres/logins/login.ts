import { type Connection, openConnection } from "../connect.ts";
import type { Sql } from "../driver.ts";
import { explainConnectionError } from "../explain.ts";
import { connectionFailure } from "../failure.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";
import type { ConnectionTarget } from "../target.ts";
import { retryRace } from "./retry-race.ts";
import type { Administrator } from "./roles.ts";
import { matchesVerifier, scramVerifier } from "./scram.ts";

/**
 * Sets the password of a login to the one in the secret store, if it differs. Sends only a SCRAM verifier, so the
 * server cannot log the password.
 *
 * @param target the login as an application would use it, with the password from the store
 * @returns whether the password was changed
 */
export async function reconcilePassword(
  sql: Sql,
  administrator: Administrator,
  target: ConnectionTarget & { readonly password: string },
): Promise<boolean> {
  if (await isPasswordCurrent(sql, administrator, target)) return false;
  const verifier = await scramVerifier(target.password);
  await retryRace(async () => {
    await sql.unsafe(`alter role ${quoteIdentifier(target.user)} password ${quoteLiteral(verifier)}`);
  });
  return true;
}

/**
 * Logs in as the application would and runs a query.
 *
 * @throws {ScriptError} `AUTHENTICATION` (exit 6) or `NOT_READY` (exit 3)
 */
export async function checkLogin(target: ConnectionTarget): Promise<void> {
  await using connection: Connection = openConnection(target);
  try {
    await connection.sql`select 1`;
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** A superuser can read the verifier; any other role has to try the password. */
async function isPasswordCurrent(
  sql: Sql,
  administrator: Administrator,
  target: ConnectionTarget & { readonly password: string },
): Promise<boolean> {
  if (!administrator.isSuperuser) return canLogIn(target);
  const [row] = await sql<{ rolpassword: string | null }[]>`
    select rolpassword from pg_catalog.pg_authid where rolname = ${target.user}`;
  return matchesVerifier(target.password, row?.rolpassword ?? null);
}

/** Whether the server accepts a password; throws if it cannot be asked. */
export async function canLogIn(target: ConnectionTarget): Promise<boolean> {
  await using connection: Connection = openConnection(target);
  try {
    await connection.sql`select 1`;
    return true;
  } catch (error) {
    if (connectionFailure(error) === "wrong-password") return false;
    throw explainConnectionError(error, target);
  }
}
