import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { searchPath } from "../../scripts/lib/stack/database.ts";
import type { ScriptRun } from "./run-script.ts";

/** @returns what a step of a bootstrap reported */
export function detailOf({ steps }: BootstrapResult, name: string): string {
  return steps.find((step) => step.name === name)?.detail ?? "";
}

/** Asserts that a bootstrap changed nothing. */
export function assertUnchanged({ isChanged, steps }: BootstrapResult): void {
  const changed = steps.filter((step) => step.isChanged).map(({ name, detail }) => `${name}: ${detail}`);
  assert.deepEqual([isChanged, changed], [false, []]);
}

/** Appends an event like an application, with only its own login. */
export async function assertAppends(target: ConnectionTarget): Promise<void> {
  await using connection = openConnection(target);
  const [row] = await connection.sql`
    select current_user::text as role, session_user::text as login, current_setting('search_path') as path,
      event_store.append_events('Order', ${randomUUID()}, 0, array['{"event_type":"A","event_data":{}}']::jsonb[]) is not null
        as "isAppended"`;
  assert.deepEqual({ ...row }, { role: groupRoles.app, login: target.user, path: searchPath, isAppended: true });
}

/** Asserts that none of these texts was printed. */
export function assertNoSecrets({ stdout, stderr }: ScriptRun, secrets: readonly string[]): void {
  for (const secret of secrets) assert.ok(!`${stdout}${stderr}`.includes(secret), "a password was printed");
}

/** The result of {@link readFacts}, one line per fact. */
export interface Facts {
  readonly roles: readonly string[];
  readonly memberships: readonly string[];
  readonly databases: readonly string[];
}

/** Reads everything about the cluster's roles and databases that an application depends on. */
export async function readFacts(sql: Sql): Promise<Facts> {
  const roles = await sql<{ fact: string }[]>`
    select concat_ws(' ', rolname,
      case when rolsuper then 'superuser' end, case when rolcreaterole then 'createrole' end,
      case when rolcreatedb then 'createdb' end, case when rolcanlogin then 'login' end,
      case when rolreplication then 'replication' end, case when rolbypassrls then 'bypassrls' end,
      case when rolinherit then 'inherit' end, rolconnlimit, coalesce(rolvaliduntil, 'infinity'), rolconfig) as fact
    from pg_roles where rolname not like 'pg\_%' order by rolname`;
  const memberships = await sql<{ fact: string }[]>`
    select concat_ws(' ', pg_get_userbyid(roleid), 'to', pg_get_userbyid(member),
      case when not inherit_option then 'inherit false' end, case when not set_option then 'set false' end) as fact
    from pg_auth_members where pg_get_userbyid(roleid) not like 'pg\_%' order by 1`;
  const databases = await sql<{ fact: string }[]>`
    select concat_ws(' ', datname, pg_get_userbyid(datdba),
      (select setconfig from pg_db_role_setting where setdatabase = oid and setrole = 0),
      (select array_agg(distinct coalesce(nullif(grantee, 0)::regrole::text, 'public') || ' ' || privilege_type)
        from aclexplode(datacl))) as fact
    from pg_database where not datistemplate order by datname`;
  const texts = (rows: readonly { fact: string }[]) => rows.map(({ fact }) => fact);
  return { roles: texts(roles), memberships: texts(memberships), databases: texts(databases) };
}
