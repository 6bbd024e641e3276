import type { Confirmation } from "../cli/confirm.ts";
import { locked } from "../cli/errors.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isSameLogin, loginPair } from "../login-names.ts";
import { isInImage } from "../paths.ts";
import { describeHolder, takeAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";
import { issuer } from "../postgres/logins/issuer.ts";
import { canLogIn } from "../postgres/logins/login.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { secretPaths } from "../secrets/application-secret.ts";
import { readServerIdentity } from "./external.ts";
import type { Confirm } from "./repoint.ts";
import { type RunContext, type Stack, waitLimit } from "./stack.ts";

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
 * @param server a session of the administrator, and its target
 * @param confirm asks before a database that another folder may have set up is taken over; undefined to ask nothing
 * @throws {ScriptError} `OTHER_STACK`, or `REFUSED` if the answer is no (exit 8)
 */
export async function refuseOtherStack(stack: Stack, server: Server, confirm?: Confirm): Promise<void> {
  if (stack.mode !== "external" || isInImage()) return;
  const { isOurs, databases, logins } = await readOccupants(stack, server.sql);
  if (databases.length + logins.length === 0 || (await hasSetUp(stack, server.sql))) return;
  const known = await findKnownLogin(stack, server.target);
  if (isOurs && known === undefined) await confirm?.(takeOver(stack, logins));
  if (isOurs || (known !== undefined && isSameLogin(known, stack.user))) return;
  throw otherStack(stack, databases, logins);
}

/** A session of the administrator, and its target. */
interface Server {
  readonly sql: Sql;
  readonly target: ConnectionTarget;
}

/**
 * Does work while no other bootstrap changes an external server, so that two of them do not both find it empty.
 *
 * @throws {ScriptError} `LOCKED` (exit 5)
 */
export async function withServerLock<Result>(
  stack: Stack,
  run: RunContext,
  target: ConnectionTarget,
  work: () => Promise<Result>,
): Promise<Result> {
  if (stack.mode !== "external" || isInImage()) return work();
  // Advisory locks belong to a database, and the stack's own one may not exist yet.
  await using connection = await connectForMaintenance(target, {
    applicationName: "cqrs-postgres bootstrap",
    signal: run.signal,
  });
  const limit = waitLimit(stack, run);
  const lock = await takeAdvisoryLock(connection.sql, { tag: "stac", name: "" }, limit);
  if (lock.isTaken) return await work();
  const held = `${describeHolder(lock.holder)} held the lock for ${limit.timeoutMs} ms.`;
  throw locked("Another bootstrap is setting up this server", held);
}

/** @returns the login of the stored secret, if the server accepts it */
async function findKnownLogin({ secrets }: Stack, target: ConnectionTarget): Promise<string | undefined> {
  try {
    const { username, password, database } = (await secrets.read(secretPaths.application))?.data ?? {};
    if (username === undefined || password === undefined || database === undefined) return undefined;
    return (await canLogIn({ ...target, user: username, password, database })) ? username : undefined;
  } catch {
    // Without the secret, or its database, nothing shows that this stack has set up the server.
    return undefined;
  }
}

function takeOver({ database, user }: Stack, logins: readonly string[]): Confirmation {
  return {
    plan: [
      `takes over ${database}, which this folder has not set up: the applications of another folder may use it`,
      `sets a new password for ${user}: applications that use it lose their login`,
      ...(logins.length > 0 ? [`${user} and ${logins.join(", ")} can read and write the same events`] : []),
    ].join("\n"),
    question: "Take it over?",
    refusal: "Nothing was changed on the server",
    data: { database, user, logins },
  };
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

function otherStack({ database, user }: Stack, databases: readonly string[], logins: readonly string[]): ScriptError {
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
      `folder, with its --user. ${adoptFix(databases, user)}If nothing uses that stack any more, drop its databases and logins.`,
  });
}

/** The folder of a stack may be gone, as that of a job in CI. */
function adoptFix([first]: readonly string[], user: string): string {
  if (first === undefined) return "";
  return `If its folder is gone, run ${runLine("bootstrap")} --database ${first} --user ${user} --yes here first. `;
}
