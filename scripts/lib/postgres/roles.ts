import type { TransactionSql } from "postgres";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "./connect.ts";
import { quoteIdentifier } from "./quote.ts";

/** The group roles; nobody logs in as one of them. */
export const groupRoles = {
  /** Owns the database, event_store and all that migrations make. */
  owner: "cqrs_owner",
  /** Holds every grant of the application and owns what applications create. */
  app: "cqrs_app",
} as const;

/** Serialises two runs that reconcile roles at once: ALTER ROLE of one role by two sessions fails with XX000. */
export const rolesLockKey = 0x63_71_72_73;

/** Who the session that reconciles is. */
export interface Administrator {
  readonly name: string;
  readonly isSuperuser: boolean;
}

interface RoleRow {
  readonly rolname: string;
  readonly rolsuper: boolean;
  readonly rolinherit: boolean;
  readonly rolcreaterole: boolean;
  readonly rolcreatedb: boolean;
  readonly rolcanlogin: boolean;
  readonly rolreplication: boolean;
  readonly rolbypassrls: boolean;
  readonly rolconnlimit: number;
  readonly isExpiring: boolean;
  readonly rolconfig: readonly string[] | null;
}

const minimumVersion = 160_000;

/**
 * Asks the server who we are and whether it is one we know.
 *
 * @throws {ScriptError} `SERVER_VERSION` (exit 9) below PostgreSQL 16
 */
export async function readAdministrator(sql: Sql): Promise<Administrator> {
  const [row] = await sql<(Administrator & { version: number; versionText: string })[]>`
    select current_user::text as "name", rolsuper as "isSuperuser",
           current_setting('server_version_num')::int as version, current_setting('server_version') as "versionText"
    from pg_catalog.pg_roles where rolname = current_user`;
  if (row === undefined) throw new Error("pg_roles has no row for current_user");
  if (row.version < minimumVersion) {
    throw new ScriptError({
      code: "SERVER_VERSION",
      exitCode: exitCodes.prerequisite,
      message: `The server is PostgreSQL ${row.versionText}`,
      why: "PostgreSQL 16 or newer is needed.",
      fix: "Upgrade the server, or let bun run bootstrap --mode embedded start one.",
    });
  }
  return { name: row.name, isSuperuser: row.isSuperuser };
}

/**
 * Makes the group roles and the application's login what they are to be; a role that somebody changed is repaired.
 *
 * @param sql a session that may create roles
 * @param login name of the application's login; its password is set by `reconcilePassword()`
 * @returns what was changed, a phrase each; empty when all was right
 */
export async function ensureRoles(sql: Sql, administrator: Administrator, login: string): Promise<string[]> {
  if (administrator.name === login) throw sameLogin(login);
  return sql.begin(async (tx) => {
    await tx`select pg_catalog.pg_advisory_xact_lock(${rolesLockKey})`;
    const changes: string[] = [];
    for (const role of [groupRoles.owner, groupRoles.app]) changes.push(...(await ensureRole(tx, role, false)));
    changes.push(...(await ensureRole(tx, login, true)));
    if (!administrator.isSuperuser) changes.push(...(await ensureOwnerAccess(tx, administrator.name)));
    changes.push(...(await ensureMembership(tx, login)));
    changes.push(...(await revokeOwner(tx, [login, groupRoles.app])));
    return changes;
  });
}

async function ensureRole(tx: TransactionSql, name: string, isLogin: boolean): Promise<string[]> {
  const [existing] = await tx<RoleRow[]>`
    select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
           rolconnlimit, coalesce(rolvaliduntil, 'infinity') <> 'infinity' as "isExpiring", rolconfig
    from pg_catalog.pg_roles where rolname = ${name}`;
  if (existing === undefined) await tx.unsafe(`create role ${quoteIdentifier(name)} with ${loginClause(isLogin)}`);
  const repairs = existing === undefined ? [] : wrongAttributes(existing, isLogin);
  if (repairs.length > 0) await tx.unsafe(`alter role ${quoteIdentifier(name)} with ${repairs.join(" ")}`);
  const isRoleSet = !isLogin || existing?.rolconfig?.includes(`role=${groupRoles.app}`) === true;
  if (!isRoleSet) await tx.unsafe(`alter role ${quoteIdentifier(name)} set role = ${quoteIdentifier(groupRoles.app)}`);
  if (existing === undefined) return [`created role ${name}`];
  return repairs.length > 0 || !isRoleSet ? [`repaired role ${name}`] : [];
}

/** Only what differs: an attribute that is merely named may need a superuser. */
function wrongAttributes(role: RoleRow, isLogin: boolean): string[] {
  const wanted: readonly (readonly [boolean, string])[] = [
    [role.rolcanlogin === isLogin, loginClause(isLogin)],
    [role.rolinherit, "inherit"],
    [!role.rolsuper, "nosuperuser"],
    [!role.rolcreaterole, "nocreaterole"],
    [!role.rolcreatedb, "nocreatedb"],
    [!role.rolreplication, "noreplication"],
    [!role.rolbypassrls, "nobypassrls"],
    [role.rolconnlimit === -1, "connection limit -1"],
    [!role.isExpiring, "valid until 'infinity'"],
  ];
  return wanted.filter(([isRight]) => !isRight).map(([, clause]) => clause);
}

function loginClause(isLogin: boolean): string {
  return isLogin ? "login" : "nologin";
}

/** A CREATEROLE login holds ADMIN on the owner but may not act as it until it says so. */
async function ensureOwnerAccess(tx: TransactionSql, administrator: string): Promise<string[]> {
  const [row] = await tx<{ canSet: boolean }[]>`
    select pg_catalog.pg_has_role(${administrator}::name, ${groupRoles.owner}::name, 'SET') as "canSet"`;
  if (row?.canSet === true) return [];
  await tx.unsafe(`grant ${groupRoles.owner} to ${quoteIdentifier(administrator)} with inherit false, set true`);
  return [`let ${administrator} act as ${groupRoles.owner}`];
}

async function ensureMembership(tx: TransactionSql, login: string): Promise<string[]> {
  const [row] = await tx<{ isMember: boolean }[]>`
    select exists (
      select from pg_catalog.pg_auth_members
      where roleid = ${groupRoles.app}::regrole and member = to_regrole(quote_ident(${login}))
        and inherit_option and set_option
    ) as "isMember"`;
  if (row?.isMember === true) return [];
  await tx.unsafe(`grant ${groupRoles.app} to ${quoteIdentifier(login)} with inherit true, set true`);
  return [`made ${login} a member of ${groupRoles.app}`];
}

/** A member of the owner could disable the trigger that keeps events as they are. */
async function revokeOwner(tx: TransactionSql, roles: readonly string[]): Promise<string[]> {
  const members = await tx<{ name: string }[]>`
    select member.rolname as name
    from pg_catalog.pg_auth_members as membership
    join pg_catalog.pg_roles as member on member.oid = membership.member
    where membership.roleid = ${groupRoles.owner}::regrole and member.rolname in ${tx(roles)}`;
  for (const { name } of members) await tx.unsafe(`revoke ${groupRoles.owner} from ${quoteIdentifier(name)} cascade`);
  return members.map(({ name }) => `revoked ${groupRoles.owner} from ${name}`);
}

function sameLogin(login: string): ScriptError {
  return new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: `${login} can't be both the administrator and the application's login`,
    why: "The application's login gets no rights beyond the application's; the administrator would lose its own.",
    fix: "Give another --user (POSTGRES_USER), or connect as another administrator (PGUSER).",
  });
}
