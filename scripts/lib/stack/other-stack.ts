import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { loginPair } from "../login-names.ts";
import { isInImage } from "../paths.ts";
import type { Sql } from "../postgres/driver.ts";
import { issuer } from "../postgres/logins/issuer.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { readServerIdentity } from "./external.ts";
import type { Stack } from "./stack.ts";

/** What another stack has on a server. */
interface Occupants {
  /** Whether the database of this stack is there: it was set up before. */
  readonly isOurs: boolean;
  /** Databases that members of cqrs_app can use. */
  readonly databases: readonly string[];
  /** Logins that are members of cqrs_app. */
  readonly logins: readonly string[];
}

/**
 * Refuses a server that has another stack. The roles `cqrs_owner` and `cqrs_app` belong to the whole server, so that
 * the logins of one stack could read and write the events of the other.
 *
 * The stack that set up a database can set up more of them, for the same login.
 *
 * @throws {ScriptError} `OTHER_STACK` (exit 8)
 */
export async function refuseOtherStack(stack: Stack, sql: Sql): Promise<void> {
  if (stack.mode !== "external" || isInImage()) return;
  const { isOurs, databases, logins } = await readOccupants(stack, sql);
  if (isOurs || databases.length + logins.length === 0 || (await hasSetUp(stack, sql))) return;
  throw otherStack(stack, databases, logins);
}

async function readOccupants({ database, user }: Stack, sql: Sql): Promise<Occupants> {
  const { current, other } = loginPair(user, undefined);
  const [row] = await sql<Occupants[]>`
    select
      exists (
        select from pg_catalog.pg_database where datname = ${database} and datdba = to_regrole(${groupRoles.owner})
      ) as "isOurs",
      to_jsonb(array(
        select datname::text from pg_catalog.pg_database
        where datdba = to_regrole(${groupRoles.owner}) and not datistemplate
          and has_database_privilege(to_regrole(${groupRoles.app}), oid, 'CONNECT')
        order by datname
      )) as databases,
      to_jsonb(array(
        select distinct member.rolname::text
        from pg_catalog.pg_auth_members as membership
        join pg_catalog.pg_roles as member on member.oid = membership.member
        where membership.roleid = to_regrole(${groupRoles.app}) and not membership.admin_option
          and (membership.inherit_option or membership.set_option)
          and member.rolcanlogin and coalesce(member.rolvaliduntil > now(), true)
          and member.rolname not in (${current}, ${other}, ${issuer}, current_user, session_user)
          and not exists (
            select from pg_catalog.pg_auth_members as issued
            where issued.roleid = member.oid and issued.member = to_regrole(${issuer})
          )
        order by 1
      )) as logins`;
  if (row === undefined) throw new Error("unreachable: a query without FROM returns one row");
  return row;
}

/** Whether this stack has set up the server before, for the same login. */
async function hasSetUp({ user, remembered }: Stack, sql: Sql): Promise<boolean> {
  if (remembered?.mode !== "external" || remembered.user !== user) return false;
  const actual = (await readServerIdentity(sql)).cluster?.systemIdentifier;
  const known = remembered.cluster?.systemIdentifier;
  return actual === undefined || known === undefined || actual === known;
}

function otherStack({ database }: Stack, databases: readonly string[], logins: readonly string[]): ScriptError {
  const found = [
    ...(databases.length > 0 ? [`Its database: ${databases.join(", ")}.`] : []),
    ...(logins.length > 0 ? [`Members of ${groupRoles.app}: ${logins.join(", ")}.`] : []),
  ];
  return new ScriptError({
    code: "OTHER_STACK",
    exitCode: exitCodes.refused,
    message: `The server has another stack, whose logins could read and write ${database}`,
    why: `${found.join(" ")} The role ${groupRoles.app} belongs to the whole server.`,
    fix:
      `Use a server of its own for ${database}. To give that stack one more database, run ${runLine("bootstrap")} in its ` +
      "folder, with its --user. If nothing uses that stack any more, drop its databases and logins.",
  });
}
