import { randomBytes } from "node:crypto";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { retryRace } from "../postgres/logins/retry-race.ts";
import { explainPrivilegeError, groupRoles, readAdministrator } from "../postgres/logins/roles.ts";
import { scramVerifier } from "../postgres/logins/scram.ts";
import { quoteIdentifier, quoteLiteral } from "../postgres/quote.ts";
import type { ConnectionTarget, SessionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";

/** A login for the files of a project, until it is disposed of. */
export interface ProjectLogin extends AsyncDisposable {
  readonly target: ConnectionTarget;
}

const validity = "1 hour";

/**
 * Creates a login that can act as `cqrs_app_owner` and has no other privilege, even if a file resets the role: the
 * administrator's own session would let it do anything. The next run replaces what a killed one leaves behind.
 *
 * @param target the database, with the administrator's login; the caller holds the lock of its schema
 * @throws {ScriptError} `PRIVILEGES` (exit 9)
 */
export async function createProjectLogin(target: SessionTarget, signal: AbortSignal): Promise<ProjectLogin> {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres schema login", signal });
  const { sql } = connection;
  const [row] = await sql<{ user: string }[]>`
    select 'cqrs_migration_' || oid as user from pg_catalog.pg_database where datname = current_database()`;
  const user = row?.user as string;
  const password = randomBytes(24).toString("hex");
  const verifier = await scramVerifier(password);
  try {
    await retryRace(() => inTransaction(sql, (tx) => makeLogin(tx, { user, verifier, database: target.database })));
  } catch (error) {
    throw explainPrivilegeError(error, await readAdministrator(sql));
  }
  const { searchPath: _, ...server } = target;
  return {
    target: { ...server, user, password },
    [Symbol.asyncDispose]: () => dropLogin(target, user),
  };
}

interface LoginFacts {
  readonly user: string;
  readonly verifier: string;
  readonly database: string;
}

async function makeLogin(tx: Sql, { user, verifier, database }: LoginFacts): Promise<void> {
  const [existing] = await tx`select from pg_catalog.pg_roles where rolname = ${user}`;
  const [until] = await tx<{ until: string }[]>`select (now() + ${validity}::text::interval)::text as until`;
  const attributes = `login password ${quoteLiteral(verifier)} valid until ${quoteLiteral(until?.until as string)}`;
  await tx.unsafe(`${existing === undefined ? "create" : "alter"} role ${user} with ${attributes}`);
  await tx.unsafe(`grant ${groupRoles.appOwner} to ${user} with inherit false, set true`);
  await tx.unsafe(`set local role ${groupRoles.owner}`);
  await tx.unsafe(`grant connect, temporary on database ${quoteIdentifier(database)} to ${user}`);
}

/** Opens a new connection, because a signal may have closed the others. */
async function dropLogin(target: ConnectionTarget, user: string): Promise<void> {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres schema login" });
  // If it cannot be dropped, it cannot log in either. The next run replaces it.
  await connection.sql.unsafe(`alter role ${user} nologin`).catch(() => {});
  const drop = async (tx: Sql) => {
    await tx.unsafe(`grant ${user} to current_user with inherit true, set true`);
    await tx.unsafe(`drop owned by ${user}`);
    await tx.unsafe(`set local role ${groupRoles.owner}`);
    await tx.unsafe(`revoke all on database ${quoteIdentifier(target.database)} from ${user}`);
    await tx.unsafe("reset role");
    await tx.unsafe(`drop role ${user}`);
  };
  await retryRace(() => inTransaction(connection.sql, drop)).catch(() => {});
}
