import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { Sql } from "../connect.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";
import { inTransaction } from "../transaction.ts";
import { retryRace } from "./retry-race.ts";
import { type Administrator, explainPrivilegeError, groupRoles } from "./roles.ts";

/** The login by which Vault's database engine makes and drops the logins that it issues. */
export const issuer = "cqrs_vault";

/** How long after its end an issued login counts as forgotten; Vault takes back its own at once. */
const leewaySeconds = 60;
const sweepable = "^[A-Za-z0-9_.-]+$";

/**
 * Makes the issuer what it is to be: it may make logins, let them be the application's and end their sessions; nothing
 * else.
 *
 * @param verifier what PostgreSQL stores in place of the issuer's password
 * @throws {ScriptError} `PRIVILEGES` (exit 9)
 */
export async function ensureIssuer(sql: Sql, administrator: Administrator, verifier: string): Promise<void> {
  try {
    await retryRace(() => inTransaction(sql, (tx) => makeIssuer(tx, administrator, verifier)));
  } catch (error) {
    throw explainPrivilegeError(error, administrator);
  }
}

/**
 * Drops the logins that were issued, have ended, and were not taken back: Vault was away at their end, or was emptied.
 * Their sessions are ended.
 *
 * @param revocation the statement that drops one, with `{{name}}` in place of its name
 * @returns the names
 * @throws {ScriptError} `NO_ISSUER` (exit 3) where no logins are issued
 */
export async function sweepLogins(sql: Sql, revocation: string): Promise<string[]> {
  const [found] = await sql`select from pg_catalog.pg_roles where rolname = ${issuer}`;
  if (found === undefined) throw noIssuer();
  const forgotten = await sql<{ name: string }[]>`
    select issued.rolname as name
    from pg_catalog.pg_roles as issued
    join pg_catalog.pg_auth_members as made on made.roleid = issued.oid and made.admin_option
    where made.member = ${issuer}::regrole and issued.rolname ~ ${sweepable}
      and issued.rolvaliduntil < now() - make_interval(secs => ${leewaySeconds})`;
  const names = [...new Set(forgotten.map(({ name }) => name))];
  for (const name of names) {
    await inTransaction(sql, async (tx) => {
      await tx.unsafe(`set local role ${issuer}`);
      await tx.unsafe(revocation.replaceAll("{{name}}", name));
    });
  }
  return names;
}

async function makeIssuer(tx: Sql, administrator: Administrator, verifier: string): Promise<void> {
  const [existing] = await tx`select from pg_catalog.pg_roles where rolname = ${issuer}`;
  if (existing === undefined) await tx.unsafe(`create role ${issuer}`);
  await tx.unsafe(`alter role ${issuer} with login createrole password ${quoteLiteral(verifier)}`);
  await tx.unsafe(`grant ${groupRoles.app} to ${issuer} with admin true, inherit true, set true`);
  await tx.unsafe(`grant pg_signal_backend to ${issuer}`);
  if (administrator.isSuperuser) return;
  // To sweep, the administrator acts as the issuer: only that one may drop what it has made.
  await tx.unsafe(`grant ${issuer} to ${quoteIdentifier(administrator.name)} with set true`);
}

function noIssuer(): ScriptError {
  return new ScriptError({
    code: "NO_ISSUER",
    exitCode: exitCodes.notReady,
    message: "No logins are issued here",
    why: `The server has no role ${issuer}, which Vault's database engine makes them by.`,
    fix: "bun run secrets dynamic",
  });
}
