import { runLine } from "../cli/run-line.ts";
import { ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { issuer } from "../postgres/logins/issuer.ts";
import { findRoleProblems, groupRoles } from "../postgres/logins/roles.ts";
import { findDatabaseProblems } from "../stack/database.ts";
import { findLogin, readLoginPair } from "../stack/login-pair.ts";
import { type Finding, failed, lockedElsewhere, noProblems, ok, skipped } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";
import { openStoreIfPossible } from "./credentials.ts";
import { allowed, combine, judge, type ProbeReport, refusedPrivilege, tryStatements } from "./probes.ts";

export const roleChecks: readonly Check[] = [
  { id: "roles", title: "The roles and the database are as bootstrap creates them", run: checkRoles },
  { id: "least-privilege", title: "Logins can do what they must, and nothing else", run: checkPrivileges },
];

/** Asks bootstrap's own code what it would change. Whatever that tries is rolled back. */
async function checkRoles(context: VerifyContext): Promise<Finding> {
  const { sql, administrator, stack, isStandby } = context;
  if (isStandby) return skipped("a standby takes its roles from the primary");
  const login = await findCurrentLogin(context);
  const roles = (await findRoleProblems(sql, administrator, login)).map(
    (change) => `bootstrap would report: ${change}`,
  );
  const database = await findDatabaseProblems(sql, stack.database);
  const problems = [...roles, ...database.map((statement) => `bootstrap would run: ${statement}`)];
  const names = [...Object.values(groupRoles), login].join(", ");
  return noProblems(
    problems,
    `${names}: attributes and memberships; database ${stack.database}`,
    `Run ${runLine("bootstrap")}.`,
  );
}

async function findCurrentLogin({ sql, stack }: VerifyContext): Promise<string> {
  try {
    return (await readLoginPair(stack)).current;
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return findLogin(sql, stack.user);
  }
}

/** The tables that only functions write, and a column of each. */
const tables = {
  "event_store.domain_event": "event_type",
  "event_store.event_stream": "version",
  "event_store.snapshot": "state",
  "event_store.redaction": "reason",
  "event_store.log_epoch": "reason",
  "public.schema_migration": "checksum",
} as const;

/**
 * What no role but the owner may do. If one of them is possible after all, it changes nothing: no statement has rows,
 * and functions are only planned, because PostgreSQL checks the privilege before that.
 */
const forbidden: readonly string[] = [
  ...Object.entries(tables).flatMap(([table, column]) => [
    `insert into ${table} select * from ${table} where false`,
    `update ${table} set ${column} = ${column} where false`,
    `delete from ${table} where false`,
  ]),
  "truncate event_store.domain_event",
  "alter table event_store.domain_event disable trigger all",
  "create table event_store.verify_probe ()",
  "select last_value from event_store.domain_event_global_position",
  "explain select event_store.begin_epoch('verify')",
];

/** What the application's login may not do either. For others, that depends on who connects. */
const forbiddenToApplication: readonly string[] = [
  "create schema verify_probe",
  "create role verify_probe",
  `set local role ${groupRoles.owner}`,
  "set local session_replication_role = replica",
  "explain select pg_catalog.pg_read_file('PG_VERSION')",
];

const required: readonly string[] = [
  "select from event_store.domain_event limit 0",
  "select from read_model.projection_lag limit 0",
  "select from public.schema_migration limit 0",
  "explain select event_store.append_events('verify', gen_random_uuid(), 0, '{}'::jsonb[])",
  "explain select * from event_store.read_all(0)",
  ...["read_model", "read_model_next", "command_model"].map(
    (schema) => `select 1 / has_schema_privilege('${schema}', 'create')::int`,
  ),
];

async function checkPrivileges(context: VerifyContext): Promise<Finding> {
  if (context.isStandby) return skipped("a standby refuses every change");
  const store = await openStoreIfPossible(context);
  if (store === undefined) return skipped("the application's login does not work");
  const application = await tryApplication(store.sql);
  const others = await tryOthers(context);
  const report = combine([...application, ...others.map(({ report }) => report)]);
  const problems = [...report.problems, ...(await findGrants(context))];
  const names = ["the application", ...others.map(({ role }) => role)].join(", ");
  const evidence = `${report.tried} statements tried as ${names}, in transactions that were rolled back`;
  if (problems.length > 0) return failed(evidence, problems.join("\n"), grantsFix());
  return report.isInconclusive ? lockedElsewhere : ok(evidence);
}

/** A session begins as cqrs_app, but can return to its login. */
async function tryApplication(sql: Sql): Promise<ProbeReport[]> {
  const all = [...forbidden, ...forbiddenToApplication];
  return [
    judge(await tryStatements(sql, all), refusedPrivilege, "the application"),
    judge(await tryStatements(sql, all, { role: "none" }), refusedPrivilege, "the application's login itself"),
    judge(await tryStatements(sql, required), allowed, "the application"),
  ];
}

function grantsFix(): string {
  return `Revoke what is too much, and run ${runLine("bootstrap")}; ${runLine("schema status --drift")} lists grants.`;
}

interface RoleReport {
  readonly role: string;
  readonly report: ProbeReport;
}

/** The owner of a project's own tables, and the role that issues logins if Vault does. */
async function tryOthers({ sql }: VerifyContext): Promise<RoleReport[]> {
  const rows = await sql<{ role: string }[]>`
    select rolname::text as role from pg_roles
    where rolname in (${groupRoles.appOwner}, ${issuer}) and pg_has_role(oid, 'SET') order by 1`;
  const reports: RoleReport[] = [];
  for (const { role } of rows) {
    reports.push({ role, report: judge(await tryStatements(sql, forbidden, { role }), refusedPrivilege, role) });
  }
  return reports;
}

/** Any role, also one that belongs to no application, and `public`. */
async function findGrants({ sql }: VerifyContext): Promise<string[]> {
  const rows = await sql<{ privilege: string; object: string; grantee: string }[]>`
    select distinct granted.privilege_type as privilege, object.name as object,
      coalesce(role.rolname::text, 'public') as grantee
    from (
      select oid::regclass::text as name, relowner as owner, relnamespace as namespace, relacl as acl from pg_class
      union all
      select c.oid::regclass::text, c.relowner, c.relnamespace, a.attacl
      from pg_class as c join pg_attribute as a on a.attrelid = c.oid
    ) as object
    cross join lateral aclexplode(object.acl) as granted
    left join pg_roles as role on role.oid = granted.grantee
    where object.namespace = to_regnamespace('event_store') and granted.grantee <> object.owner
      and granted.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'USAGE')
    order by 1, 2, 3`;
  return rows.map(({ privilege, object, grantee }) => `${grantee} has the privilege ${privilege} on ${object}`);
}
