import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { type TestDatabase, withDatabase, withTransaction } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { sharedStack } from "../support/stack.ts";
import {
  defaultContract,
  functionContract,
  internalFunctionContract,
  jsonContract,
  keyContract,
  roleContract,
  sqlStateContract,
  tableContract,
} from "../unit/contracts.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

/** Our objects: those in our schemas that belong to no extension. */
const ownSchemas = ["event_store", "read_model", "read_model_next", "command_model"];

async function names(query: Promise<readonly { readonly name: string }[]>): Promise<string[]> {
  return (await query).map(({ name }) => name);
}

test("the application logs in with the default names and works as its group role", async () => {
  const [row] = await database.sql<Record<string, string>[]>`
    select session_user::text as login, current_user::text as role, current_setting('search_path') as path`;
  assert.deepEqual(row, {
    login: defaultContract.login,
    role: roleContract.app,
    path: defaultContract.searchPath,
  });
});

test("the owner role owns the database and all our objects", async () => {
  const owners = await names(database.admin<{ name: string }[]>`
    select pg_get_userbyid(datdba)::text as name from pg_database where datname = current_database()
    union
    select pg_get_userbyid(nspowner)::text from pg_namespace where nspname in ${database.admin(ownSchemas)}
    union
    select pg_get_userbyid(relowner)::text from pg_class where relnamespace = 'event_store'::regnamespace
    union
    select pg_get_userbyid(proowner)::text from pg_proc where pronamespace = 'event_store'::regnamespace`);
  assert.deepEqual(owners, [roleContract.owner]);
});

test("the tables have the promised columns and types", async () => {
  const rows = await database.admin<{ table: string; column: string; type: string }[]>`
    select
      format('%s.%s', nspname, relname) as "table",
      attname as "column",
      format_type(atttypid, atttypmod) || case when attnotnull then '' else '?' end as type
    from pg_attribute
    join pg_class on pg_class.oid = attrelid
    join pg_namespace on pg_namespace.oid = relnamespace
    where relkind in ('r', 'p') and attnum > 0 and not attisdropped
      and (nspname in ${database.admin(ownSchemas)} or attrelid = 'public.schema_migration'::regclass)
    order by attrelid, attnum`;
  const tables: Record<string, Record<string, string>> = {};
  for (const { table, column, type } of rows) {
    tables[table] ??= {};
    tables[table][column] = type;
  }
  assert.deepEqual(tables, tableContract);
});

test("the constraints and indexes have the promised names", async () => {
  for (const [table, keys] of Object.entries(keyContract)) {
    const found = await names(database.admin<{ name: string }[]>`
      select conname::text collate "C" as name from pg_constraint where conrelid = ${table}::regclass
      union
      select relname::text collate "C" from pg_index join pg_class on oid = indexrelid where indrelid = ${table}::regclass
      order by name`);
    assert.deepEqual(found, keys, table);
  }
  assert.deepEqual(Object.keys(keyContract), Object.keys(tableContract));
});

test("the functions of event_store have the promised signatures", async () => {
  const rows = await database.admin<{ name: string; parameters: string; result: string }[]>`
    select proname::text as name, pg_get_function_identity_arguments(oid) as parameters, pg_get_function_result(oid) as result
    from pg_proc where pronamespace = 'event_store'::regnamespace order by proname collate "C"`;
  const promised = [...functionContract, ...internalFunctionContract].toSorted(([one], [other]) =>
    one < other ? -1 : 1,
  );
  assert.deepEqual(
    rows.map(({ name, parameters, result }) => [name, parameters, result]),
    promised,
  );
});

test("the application may call the promised functions and no others", async () => {
  const callable = await names(database.sql<{ name: string }[]>`
    select proname::text as name from pg_catalog.pg_proc
    where pronamespace = 'event_store'::regnamespace and has_function_privilege(oid, 'execute')
    order by proname collate "C"`);
  assert.deepEqual(
    callable,
    functionContract.map(([name]) => name),
  );
});

test("none of our functions is executable by public", async () => {
  const open = await names(database.admin<{ name: string }[]>`
    select oid::regprocedure::text as name from pg_proc
    where pronamespace::regnamespace::text in ${database.admin(ownSchemas)}
      and has_function_privilege('public', oid, 'execute')`);
  assert.deepEqual(open, []);
});

test("every schema, table, column, function, sequence, type and trigger of ours has a comment", async () => {
  const objects = await database.admin<{ kind: string; name: string; hasComment: boolean }[]>`
    with own_schema as (
      select oid, nspname from pg_namespace where nspname in ${database.admin(ownSchemas)}
    ),
    own_relation as (
      select oid, relkind from pg_class
      where (relnamespace in (select oid from own_schema) or oid = 'public.schema_migration'::regclass)
        and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and not exists (
          select from pg_depend where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
        )
    ),
    own_function as (
      select oid from pg_proc
      where pronamespace in (select oid from own_schema)
        and not exists (
          select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e'
        )
    )
    select 'schema' as kind, nspname::text as name, obj_description(oid, 'pg_namespace') is not null as "hasComment"
    from own_schema
    union all
    select case relkind when 'S' then 'sequence' else 'table' end, oid::regclass::text,
      obj_description(oid, 'pg_class') is not null
    from own_relation
    union all
    select 'column', format('%s.%I', attrelid::regclass, attname), col_description(attrelid, attnum) is not null
    from pg_attribute join own_relation on own_relation.oid = attrelid
    where relkind <> 'S' and attnum > 0 and not attisdropped
    union all
    select 'function', oid::regprocedure::text, obj_description(oid, 'pg_proc') is not null from own_function
    union all
    select 'type', oid::regtype::text, obj_description(oid, 'pg_type') is not null
    from pg_type
    where typnamespace in (select oid from own_schema) and typtype = 'c'
      and not exists (select from pg_class where oid = typrelid and relkind <> 'c')
    union all
    select 'trigger', format('%I on %s', tgname, tgrelid::regclass), obj_description(oid, 'pg_trigger') is not null
    from pg_trigger where not tgisinternal and tgrelid in (select oid from own_relation)`;
  const found = new Set(objects.map(({ kind }) => kind));
  assert.deepEqual([...found].toSorted(), ["column", "function", "schema", "sequence", "table", "trigger", "type"]);
  const bare = objects.filter(({ hasComment }) => !hasComment).map(({ kind, name }) => `${kind} ${name}`);
  assert.deepEqual(bare, []);
});

interface RaisedError {
  readonly code: string;
  readonly detail?: string;
}

/** One statement for each promised SQLSTATE. */
const provocations: Readonly<Record<keyof typeof sqlStateContract, (sql: Sql, id: string) => Promise<unknown>>> = {
  UE001: (sql, id) => append(sql, id, 7),
  UE002: (sql, id) => append(sql, id, 0),
  UE003: (sql) => append(sql, randomUUID(), -4),
  UE004: async (sql, id) => {
    const event = { event_id: randomUUID(), event_type: "OrderPlaced", event_data: {} };
    return sql`
      select event_store.append_events('Order', ${id}, null, array[${sql.json(event)}, ${sql.json(event)}]::jsonb[])`;
  },
  UE005: async (sql, id) => {
    await sql`select event_store.archive_stream('Order', ${id})`;
    await append(sql, id, 1);
  },
  UE006: (sql) => sql`delete from event_store.domain_event`,
  UE007: (sql, id) => append(sql, id, -3),
  UE008: (sql) => sql`select from event_store.read_all(1000000)`,
};

const rewoundDetail = ["checkpoint", "checkpoint_epoch", "epoch", "branch_position", "branch_event"];

function append(sql: Sql, aggregateId: string, expectedVersion: number): Promise<unknown> {
  const event = { event_type: "OrderPlaced", event_data: { total: 42 } };
  return sql`
    select event_store.append_events('Order', ${aggregateId}, ${expectedVersion}, array[${sql.json(event)}]::jsonb[])`;
}

for (const [code, meaning] of Object.entries(sqlStateContract)) {
  test(`${code} is raised when ${meaning}`, () =>
    withTransaction(database.admin, async (tx) => {
      const id = randomUUID();
      await append(tx, id, 0);
      const provoke = provocations[code as keyof typeof sqlStateContract];
      await assert.rejects(provoke(tx, id), (error: RaisedError) => {
        assert.equal(error.code, code);
        const detail = JSON.parse(error.detail ?? "null");
        const change = { operation: "delete", schema: "event_store", table: "domain_event" };
        if (code === "UE006") assert.deepEqual(detail, change);
        else if (code === "UE008") assert.deepEqual(Object.keys(detail), rewoundDetail);
        else assert.deepEqual(Object.keys(detail), ["expected", "actual", "aggregate_type", "aggregate_id"]);
        return true;
      });
    }));
}

test("bootstrap --json has the promised fields", async () => {
  await using stack = await sharedStack();
  const run = await runScript(["bootstrap", "--json"], { stackDir: stack.stackDir });
  assert.equal(run.exitCode, 0, run.stderr);
  const result = JSON.parse(run.stdout);
  assert.deepEqual(Object.keys(result), [...jsonContract.success]);
  assert.deepEqual([result.ok, result.command, typeof result.durationMs], [true, "bootstrap", "number"]);
  assert.deepEqual(Object.keys(result.data), [...jsonContract.bootstrap]);
  assert.deepEqual(
    result.data.steps.map(({ name }: { name: string }) => name),
    [...jsonContract.bootstrapSteps],
  );
  for (const step of result.data.steps) assert.deepEqual(Object.keys(step), [...jsonContract.bootstrapStep]);
});

test("status --json has the promised fields, whether the server runs or not", async () => {
  await using stack = await sharedStack();
  const running = await runForData<Record<string, unknown>>(["status"], { stackDir: stack.stackDir });
  assert.deepEqual(Object.keys(running).toSorted(), jsonContract.status.toSorted());
  const stopped = await runScript(["status", "--json"], { stackDir: `${stack.stackDir}/none` });
  assert.equal(stopped.exitCode, 3);
  const { data, ...failure } = JSON.parse(stopped.stdout);
  assert.deepEqual(Object.keys(data).toSorted(), jsonContract.status.toSorted());
  assert.deepEqual(Object.keys(failure), [...jsonContract.failure]);
  assert.deepEqual(Object.keys(failure.error), [...jsonContract.error]);
});

test("status --env prints the promised variables", async () => {
  await using stack = await sharedStack();
  const { env } = await runForData<{ env: Record<string, string> }>(["status", "--env"], { stackDir: stack.stackDir });
  assert.deepEqual(Object.keys(env), [...jsonContract.statusEnv]);
  const { stdout } = await runScript(["status", "--env"], { stackDir: stack.stackDir });
  assert.equal(
    stdout,
    Object.entries(env)
      .map(([name, value]) => `export ${name}='${value}'\n`)
      .join(""),
  );
});
