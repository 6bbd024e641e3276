import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { Sql } from "../driver.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";
import { inTransaction } from "../transaction.ts";
import { retryRace } from "./retry-race.ts";
import { type Administrator, explainPrivilegeError, groupRoles } from "./roles.ts";

/** The issuer: the role that Vault's database engine uses to create and drop short-lived logins. */
export const issuer = "cqrs_vault";

/** How long after its expiry a login counts as abandoned; Vault itself drops logins when they expire. */
const leewaySeconds = 60;
/** Names as Vault generates them, which are safe to insert into the revocation statement. */
const sweepable = "^[A-Za-z0-9_.-]+$";

/**
 * Creates or repairs the issuer. It can create logins, grant them the application's role and end their sessions, and
 * nothing else.
 *
 * @param verifier the SCRAM verifier of the issuer's password
 * @throws {ScriptError} `PRIVILEGES` (exit 9)
 */
export async function ensureIssuer(sql: Sql, administrator: Administrator, verifier: string): Promise<void> {
  try {
    await retryRace(() => inTransaction(sql, (tx) => reconcileIssuer(tx, administrator, verifier)));
  } catch (error) {
    throw explainPrivilegeError(error, administrator);
  }
}

/**
 * Drops issued logins that have expired but were never revoked, because Vault was unreachable at the time or has lost
 * its data. Ends their sessions.
 *
 * @param revocation the statement that drops a login, with `{{name}}` for its name
 * @returns the names of the dropped logins
 * @throws {ScriptError} `NO_ISSUER` (exit 3) if this server issues no logins
 */
export async function sweepLogins(sql: Sql, revocation: string): Promise<string[]> {
  const [found] = await sql`select from pg_catalog.pg_roles where rolname = ${issuer}`;
  if (found === undefined) throw noIssuer();
  const abandoned = await sql<{ name: string }[]>`
    select issued.rolname as name
    from pg_catalog.pg_roles as issued
    join pg_catalog.pg_auth_members as membership on membership.roleid = issued.oid and membership.admin_option
    where membership.member = ${issuer}::regrole and issued.rolname ~ ${sweepable}
      and issued.rolvaliduntil < now() - make_interval(secs => ${leewaySeconds})`;
  const names = [...new Set(abandoned.map(({ name }) => name))];
  for (const name of names) {
    await inTransaction(sql, async (tx) => {
      await tx.unsafe(`set local role ${issuer}`);
      await tx.unsafe(revocation.replaceAll("{{name}}", name));
    });
  }
  return names;
}

async function reconcileIssuer(tx: Sql, administrator: Administrator, verifier: string): Promise<void> {
  const [existing] = await tx`select from pg_catalog.pg_roles where rolname = ${issuer}`;
  if (existing === undefined) await tx.unsafe(`create role ${issuer}`);
  await tx.unsafe(`alter role ${issuer} with login createrole password ${quoteLiteral(verifier)}`);
  await tx.unsafe(`grant ${groupRoles.app} to ${issuer} with admin true, inherit true, set true`);
  await tx.unsafe(`grant pg_signal_backend to ${issuer}`);
  if (administrator.isSuperuser) return;
  // Only the issuer can drop the logins that it created, so the administrator sweeps as the issuer.
  await tx.unsafe(`grant ${issuer} to ${quoteIdentifier(administrator.name)} with set true`);
}

function noIssuer(): ScriptError {
  return new ScriptError({
    code: "NO_ISSUER",
    exitCode: exitCodes.notReady,
    message: "This server issues no logins",
    why: `It has no role ${issuer}, which Vault's database engine would use to create them.`,
    fix: `Run ${runLine("secrets dynamic")}.`,
  });
}
