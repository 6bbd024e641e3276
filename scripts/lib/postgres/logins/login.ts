import { type Connection, type ConnectionTarget, openConnection, type Sql } from "../connect.ts";
import { explainConnectionError } from "../explain.ts";
import { connectionFailure } from "../failure.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";
import { retryRace } from "./retry-race.ts";
import type { Administrator } from "./roles.ts";
import { matchesVerifier, scramVerifier } from "./scram.ts";

/**
 * Sets the password of a login to the one in the secret store, when it is another. Only a SCRAM verifier goes over the
 * wire and into the server's log.
 *
 * @param target the login as an application would use it, with the password of the store
 * @returns whether the password was changed
 */
export async function reconcilePassword(
  sql: Sql,
  administrator: Administrator,
  target: ConnectionTarget & { readonly password: string },
): Promise<boolean> {
  if (await isPasswordRight(sql, administrator, target)) return false;
  const verifier = await scramVerifier(target.password);
  await retryRace(async () => {
    await sql.unsafe(`alter role ${quoteIdentifier(target.user)} password ${quoteLiteral(verifier)}`);
  });
  return true;
}

/**
 * Logs in as an application would and asks for one row.
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

/** A superuser sees the verifier; anybody else has to try. */
async function isPasswordRight(
  sql: Sql,
  administrator: Administrator,
  target: ConnectionTarget & { readonly password: string },
): Promise<boolean> {
  if (!administrator.isSuperuser) return canLogIn(target);
  const [row] = await sql<{ rolpassword: string | null }[]>`
    select rolpassword from pg_catalog.pg_authid where rolname = ${target.user}`;
  return matchesVerifier(target.password, row?.rolpassword ?? null);
}

async function canLogIn(target: ConnectionTarget): Promise<boolean> {
  await using connection: Connection = openConnection(target);
  try {
    await connection.sql`select 1`;
    return true;
  } catch (error) {
    if (connectionFailure(error) === "wrong-password") return false;
    throw explainConnectionError(error, target);
  }
}
