import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { Sql } from "../driver.ts";
import { errorCode } from "../failure.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";
import { inRolledBackTransaction, inTransaction } from "../transaction.ts";
import { retryRace } from "./retry-race.ts";
import { expireTwin, preparedUntil, type Twin } from "./twin.ts";

/** The group roles, which cannot log in. */
export const groupRoles = {
  /** Owns the database, event_store and everything that migrations create. */
  owner: "cqrs_owner",
  /** Holds every grant of the application and owns what applications create. */
  app: "cqrs_app",
  /** Owns what the migrations of a project create. */
  appOwner: "cqrs_app_owner",
} as const;

/** A regular expression for the logins that exist only while a project's migrations are applied. */
export const passingLogins = "^cqrs_migration_[0-9]+$";

/** The login that sets up roles and databases. */
export interface Administrator {
  /** The current role (`current_user`). */
  readonly name: string;
  /** The role that logged in (`session_user`). */
  readonly login: string;
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
  readonly validUntil: string;
  readonly rolconfig: readonly string[] | null;
}

const minimumVersion = 160_000;
const insufficientPrivilege = "42501";

/**
 * Reads which role we are connected as, and checks the server's version.
 *
 * @throws {ScriptError} `SERVER_VERSION` (exit 9) below PostgreSQL 16
 */
export async function readAdministrator(sql: Sql): Promise<Administrator> {
  const [row] = await sql<(Administrator & { version: number; versionText: string })[]>`
    select current_user::text as "name", session_user::text as login, rolsuper as "isSuperuser",
           current_setting('server_version_num')::int as version, current_setting('server_version') as "versionText"
    from pg_catalog.pg_roles where rolname = current_user`;
  if (row === undefined) throw new Error("pg_roles has no row for current_user");
  if (row.version < minimumVersion) {
    throw new ScriptError({
      code: "SERVER_VERSION",
      exitCode: exitCodes.prerequisite,
      message: `The server is PostgreSQL ${row.versionText}`,
      why: "PostgreSQL 16 or newer is required.",
      fix: `Upgrade the server, or run ${runLine("bootstrap")} --mode embedded, which starts a suitable one.`,
    });
  }
  return { name: row.name, login: row.login, isSuperuser: row.isSuperuser };
}

/**
 * Creates or repairs the group roles and the application's login.
 *
 * @param sql a session that may create roles
 * @param login name of the application's login; its password is set by `reconcilePassword()`
 * @param twin the application's other login, which gets an expiry
 * @returns the changes, one phrase each; empty if nothing had to change
 * @throws {ScriptError} `CONFIGURATION` (exit 2) if the login is the administrator's own, `PRIVILEGES` (exit 9)
 */
export function ensureRoles(sql: Sql, administrator: Administrator, login: string, twin?: Twin): Promise<string[]> {
  return changeRoles(sql, administrator, login, async (tx) => {
    const changes = await reconcileRoles(tx, administrator, login, "infinity");
    return twin === undefined ? changes : [...changes, ...(await expireTwin(tx, twin))];
  });
}

/**
 * Creates or repairs the login that the application is about to switch to, and sets its password, in one transaction.
 *
 * @param verifier the SCRAM verifier of the password
 */
export async function prepareLogin(
  sql: Sql,
  administrator: Administrator,
  login: string,
  verifier: string,
): Promise<void> {
  await changeRoles(sql, administrator, login, async (tx) => {
    await reconcileRoles(tx, administrator, login, preparedUntil);
    await tx.unsafe(`alter role ${quoteIdentifier(login)} password ${quoteLiteral(verifier)}`);
    return [];
  });
}

/**
 * Finds what {@link ensureRoles} would change. What that tries is rolled back.
 *
 * @param sql a session that may create roles
 * @returns the changes, one phrase each
 * @throws {ScriptError} `PRIVILEGES` (exit 9)
 */
export async function findRoleProblems(sql: Sql, administrator: Administrator, login: string): Promise<string[]> {
  const work = async (tx: Sql) => {
    await tx.unsafe("set transaction read write");
    return reconcileRoles(tx, administrator, login, "infinity");
  };
  try {
    return await inRolledBackTransaction(sql, work);
  } catch (error) {
    throw explainPrivilegeError(error, administrator);
  }
}

/** @throws {ScriptError} `CONFIGURATION` (exit 2) if the administrator is the application's login, or acts as a group */
export function refuseApplicationLogin(administrator: Administrator, login: string): void {
  const isGroupRole = Object.values<string>(groupRoles).includes(administrator.name);
  if (administrator.login === login || isGroupRole) throw sameLogin(administrator.login);
}

async function changeRoles(
  sql: Sql,
  administrator: Administrator,
  login: string,
  work: (tx: Sql) => Promise<string[]>,
): Promise<string[]> {
  refuseApplicationLogin(administrator, login);
  try {
    return await retryRace(() => inTransaction(sql, work));
  } catch (error) {
    throw explainPrivilegeError(error, administrator);
  }
}

/**
 * Explains an error caused by a missing privilege of the administrator.
 *
 * @returns the error to throw instead; any other error unchanged
 */
export function explainPrivilegeError(error: unknown, { name }: Administrator): unknown {
  if (errorCode(error) !== insufficientPrivilege) return error;
  const { message, detail } = error as { readonly message: string; readonly detail?: string };
  return new ScriptError({
    code: "PRIVILEGES",
    exitCode: exitCodes.prerequisite,
    message: `${name} lacks the privileges to set up the roles and the database`,
    why: detail === undefined ? message : `${message}\n${detail}`,
    fix: adviseAdministrator(name),
  });
}

/** The privileges of an administrator would let the application change the log. */
function adviseAdministrator(name: string): string {
  const groups: readonly string[] = Object.values(groupRoles);
  if (groups.includes(name))
    return "Log in as an administrator, not as the application: set CQRS_ADMIN_URL to its URL.";
  const role = quoteIdentifier(name);
  return (
    `As a superuser, run: alter role ${role} createrole createdb; ` +
    `If another login created the roles, also run: grant ${groups.join(", ")} to ${role} with admin option;`
  );
}

async function reconcileRoles(
  tx: Sql,
  administrator: Administrator,
  login: string,
  validUntil: string,
): Promise<string[]> {
  const changes: string[] = [];
  for (const role of Object.values(groupRoles)) changes.push(...(await ensureRole(tx, role)));
  changes.push(...(await ensureRole(tx, login, validUntil)));
  if (!administrator.isSuperuser) changes.push(...(await ensureOwnerAccess(tx, administrator.name)));
  changes.push(...(await ensureReadAccess(tx)));
  changes.push(...(await revokeOwner(tx, [login, groupRoles.app, groupRoles.appOwner])));
  // The owner backs up and restores what applications and the migrations of projects have created.
  changes.push(...(await ensureMembership(tx, groupRoles.appOwner, groupRoles.owner)));
  for (const member of [groupRoles.owner, login]) changes.push(...(await ensureMembership(tx, groupRoles.app, member)));
  return changes;
}

/** @param loginUntil when the login expires; without it the role cannot log in */
async function ensureRole(tx: Sql, name: string, loginUntil?: string): Promise<string[]> {
  const isLogin = loginUntil !== undefined;
  const validUntil = loginUntil ?? "infinity";
  const [existing] = await tx<RoleRow[]>`
    select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
           rolconnlimit, (coalesce(rolvaliduntil, 'infinity') at time zone 'UTC')::text as "validUntil", rolconfig
    from pg_catalog.pg_roles where rolname = ${name}`;
  const validity = `valid until ${quoteLiteral(validUntil)}`;
  if (existing === undefined) {
    await tx.unsafe(`create role ${quoteIdentifier(name)} with ${loginClause(isLogin)} ${validity}`);
  }
  const repairs = existing === undefined ? [] : wrongAttributes(existing, isLogin);
  if (existing !== undefined && existing.validUntil !== validUntil) repairs.push(validity);
  if (repairs.length > 0) await tx.unsafe(`alter role ${quoteIdentifier(name)} with ${repairs.join(" ")}`);
  const isRoleSet = !isLogin || existing?.rolconfig?.includes(`role=${groupRoles.app}`) === true;
  if (!isRoleSet) await tx.unsafe(`alter role ${quoteIdentifier(name)} set role = ${quoteIdentifier(groupRoles.app)}`);
  if (existing === undefined) return [`created role ${name}`];
  return repairs.length > 0 || !isRoleSet ? [`repaired role ${name}`] : [];
}

/** Lists only attributes that differ, because only a superuser can even mention some of them. */
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
  ];
  return wanted.filter(([isRight]) => !isRight).map(([, clause]) => clause);
}

function loginClause(isLogin: boolean): string {
  return isLogin ? "login" : "nologin";
}

/**
 * A CREATEROLE login has the ADMIN option on the owner, but cannot act as it until it grants itself SET. It needs
 * INHERIT too: only the owner and the application can connect to the database, not even the role that created it.
 */
async function ensureOwnerAccess(tx: Sql, administrator: string): Promise<string[]> {
  const [row] = await tx<{ canAct: boolean }[]>`
    select pg_catalog.pg_has_role(${administrator}::name, ${groupRoles.owner}::name, 'SET')
      and pg_catalog.pg_has_role(${administrator}::name, ${groupRoles.owner}::name, 'USAGE') as "canAct"`;
  if (row?.canAct === true) return [];
  await tx.unsafe(`grant ${groupRoles.owner} to ${quoteIdentifier(administrator)} with inherit true, set true`);
  return [`allowed ${administrator} to act as ${groupRoles.owner}`];
}

async function ensureMembership(tx: Sql, group: string, member: string): Promise<string[]> {
  const [row] = await tx<{ isMember: boolean }[]>`
    select exists (
      select from pg_catalog.pg_auth_members
      where roleid = ${group}::regrole and member = to_regrole(quote_ident(${member}))
        and inherit_option and set_option
    ) as "isMember"`;
  if (row?.isMember === true) return [];
  await tx.unsafe(`grant ${group} to ${quoteIdentifier(member)} with inherit true, set true`);
  return [`made ${member} a member of ${group}`];
}

/**
 * Allows the owner's functions to identify the session that holds readers back (`event_store.horizon_holder`), and a
 * copy of the data directory (`event_store.server_identity`). If a managed server does not allow a grant, they report
 * less.
 */
async function ensureReadAccess(tx: Sql): Promise<string[]> {
  const rows = await tx<{ role: string }[]>`
    select role
    from unnest(array['pg_read_all_stats', 'pg_read_all_settings']) as role
    where pg_catalog.pg_has_role(role, 'MEMBER WITH ADMIN OPTION')
      and not pg_catalog.pg_has_role(${groupRoles.owner}, role, 'USAGE')`;
  for (const { role } of rows) await tx.unsafe(`grant ${role} to ${groupRoles.owner} with inherit true`);
  return rows.map(({ role }) => `made ${groupRoles.owner} a member of ${role}`);
}

/**
 * Revokes the owner from roles: a member could disable the trigger that makes events immutable. Each grant is revoked
 * on behalf of its grantor: without GRANTED BY, PostgreSQL revokes only our own grant and warns about any other.
 */
async function revokeOwner(tx: Sql, roles: readonly string[]): Promise<string[]> {
  const grants = await tx<{ name: string; grantor: string }[]>`
    select member.rolname as name, pg_catalog.pg_get_userbyid(membership.grantor)::text as grantor
    from pg_catalog.pg_auth_members as membership
    join pg_catalog.pg_roles as member on member.oid = membership.member
    where membership.roleid = ${groupRoles.owner}::regrole and member.rolname in ${tx(roles)}`;
  for (const { name, grantor } of grants) {
    const [member, by] = [quoteIdentifier(name), quoteIdentifier(grantor)];
    await tx.unsafe(`revoke ${groupRoles.owner} from ${member} granted by ${by} cascade`);
  }
  return [...new Set(grants.map(({ name }) => `revoked ${groupRoles.owner} from ${name}`))];
}

function sameLogin(login: string): ScriptError {
  return new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: `${login} cannot be both the administrator and the application's login`,
    why: "The application's login gets only the application's privileges; the administrator would lose its own.",
    fix: "Pass another --user (POSTGRES_USER), or connect as another administrator (CQRS_ADMIN_URL, PGUSER).",
  });
}
