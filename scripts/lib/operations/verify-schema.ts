import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { isWrong } from "../schema/dump.ts";
import { readViolations } from "../schema/invariants.ts";
import { readLedger } from "../schema/ledger.ts";
import { describeConflict, findConflicts, planSchema } from "../schema/plan.ts";
import { readAllFiles, type SchemaFile, titleOf } from "../schema/source.ts";
import { administratorTarget, type RunContext, type Stack } from "../stack/stack.ts";
import { readDrift } from "./schema-drift.ts";

/** A check of the schema. */
export interface SchemaCheck {
  readonly name: "ledger" | "drift" | "comments" | "invariants";
  /** What is wrong, one line each; empty if nothing is. */
  readonly problems: readonly string[];
}

/** Checks the schema of a database: the ledger, the objects, their comments, and the invariants. Changes nothing. */
export async function verifySchema(
  stack: Stack,
  run: RunContext,
): Promise<{ readonly checks: readonly SchemaCheck[] }> {
  const target = await administratorTarget(stack);
  const files = await readAllFiles(stack.config.sqlDir);
  await using connection = openConnection(target, {
    applicationName: "cqrs-postgres schema verify",
    signal: run.signal,
  });
  try {
    const { sql } = connection;
    const applied = (await readLedger(sql)).map(titleOf);
    const drift = await readDrift(stack, applied, run);
    const violations = await readViolations(sql);
    return {
      checks: [
        { name: "ledger", problems: await checkLedger(sql, files) },
        { name: "drift", problems: drift.filter(isWrong).map(({ object, difference }) => `${difference}: ${object}`) },
        { name: "comments", problems: await findUncommented(sql) },
        {
          name: "invariants",
          problems: violations.map(({ invariant, rows }) => `${invariant}: ${rows.length} rows or more violate it`),
        },
      ],
    };
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

async function checkLedger(sql: Sql, files: readonly SchemaFile[]): Promise<string[]> {
  const applied = await readLedger(sql);
  const conflicts = findConflicts(files, applied);
  if (conflicts.length > 0) return conflicts.map(describeConflict);
  return planSchema(files, applied).pending.map((file) => `${titleOf(file)} is not applied`);
}

/** What the files create should say what it is for. Tables of projections are created by the application. */
async function findUncommented(sql: Sql): Promise<string[]> {
  const rows = await sql<{ object: string }[]>`
    with object as (
      select 'pg_class'::regclass as catalog, oid, relnamespace as schema, relowner as owner
      from pg_catalog.pg_class where relkind in ('r', 'p', 'v', 'm', 'f')
      union all
      select 'pg_proc'::regclass, oid, pronamespace, proowner from pg_catalog.pg_proc
    )
    select identified.type || ' ' || identified.identity as object
    from object
    join pg_catalog.pg_namespace as namespace on namespace.oid = object.schema
    cross join lateral pg_catalog.pg_identify_object(catalog, object.oid, 0) as identified
    where nspname in ('event_store', 'read_model', 'command_model', 'public')
      and owner in ('cqrs_owner'::regrole, 'cqrs_app_owner'::regrole)
      and pg_catalog.obj_description(object.oid, catalog::regclass::text::name) is null
      and not exists (
        select from pg_catalog.pg_depend where classid = catalog and objid = object.oid and deptype = 'e'
      )
    order by 1`;
  return rows.map(({ object }) => `${object} has no comment`);
}
