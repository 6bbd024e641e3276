import { runLine } from "../cli/run-line.ts";
import { readCachedReference } from "../operations/schema-drift.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { readPlan } from "../schema/apply.ts";
import { compareSchemas, dumpSchema, isWrong } from "../schema/dump.ts";
import { readAllFiles, titleOf } from "../schema/source.ts";
import { type Finding, failed, noProblems, ok, skipped } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";

export const schemaChecks: readonly Check[] = [
  { id: "schemas", title: "The schemas exist", run: checkSchemas },
  { id: "extensions", title: "The extensions are installed", run: checkExtensions },
  { id: "migrations", title: "The files of the schema are applied", run: checkMigrations },
  { id: "drift", title: "The schema is what its files create", run: checkDrift },
];

const schemas = ["event_store", "read_model", "read_model_next", "command_model"];

async function checkSchemas({ sql }: VerifyContext): Promise<Finding> {
  const rows = await sql<{ name: string; owner: string | null }[]>`
    select wanted.name, pg_get_userbyid(found.nspowner)::text as owner
    from unnest(string_to_array(${schemas.join()}, ',')) as wanted (name)
    left join pg_namespace as found on found.nspname = wanted.name`;
  const problems = rows.flatMap(({ name, owner }) => {
    if (owner === null) return [`the schema ${name} is missing`];
    return owner === groupRoles.owner ? [] : [`the schema ${name} belongs to ${owner}, not to ${groupRoles.owner}`];
  });
  const fix = `Give the schema back (alter schema … owner to ${groupRoles.owner}), or run ${runLine("restore latest")}.`;
  return noProblems(problems, schemas.join(", "), fix);
}

/** The schema needs pgcrypto. uuid-ossp is for applications, and a server need not have it. */
async function checkExtensions({ sql }: VerifyContext): Promise<Finding> {
  const rows = await sql<{ name: string; version: string | null; isAvailable: boolean }[]>`
    select wanted.name, installed.extversion as version,
      exists (select from pg_available_extensions as available where available.name = wanted.name) as "isAvailable"
    from unnest(array['pgcrypto', 'uuid-ossp']) as wanted (name)
    left join pg_extension as installed on installed.extname = wanted.name
    order by 1`;
  const isRequired = ({ name, isAvailable }: (typeof rows)[number]) => name === "pgcrypto" || isAvailable;
  const missing = rows.filter((row) => row.version === null && isRequired(row)).map(({ name }) => name);
  const evidence = rows.map(({ name, version }) => `${name} ${version ?? "not installed"}`).join(", ");
  const fix = missing.map((name) => `create extension "${name}" with schema public;`).join(" ");
  const problems = missing.map((name) => `the extension ${name} is missing`);
  return noProblems(problems, evidence, `As ${groupRoles.owner}, run: ${fix}`);
}

/** A drift of the ledger is thrown, with its reason and what to do. */
async function checkMigrations({ sql, stack }: VerifyContext): Promise<Finding> {
  const { pending, applied } = await readPlan(sql, await readAllFiles(stack.config.sqlDir));
  const problems = pending.map((file) => `${titleOf(file)} is pending`);
  return noProblems(problems, `${applied.length} files applied, none was edited`, `Run ${runLine("schema apply")}.`);
}

/** Compares only if an earlier run has stored what the files create: making it means creating a database. */
async function checkDrift({ sql, stack, target, run }: VerifyContext): Promise<Finding> {
  const show = runLine("schema status --drift");
  const plan = await readPlan(sql, await readAllFiles(stack.config.sqlDir)).catch(() => undefined);
  if (plan === undefined || plan.pending.length > 0) return skipped("the files and the ledger differ");
  const reference = await readCachedReference(stack, plan.applied.map(titleOf), sql);
  if (reference === undefined) return skipped(`there is nothing to compare with until you run ${show}`);
  const differences = compareSchemas(reference, await dumpSchema(target, run.signal));
  const [wrong, others] = [differences.filter(isWrong), differences.filter((one) => !isWrong(one))];
  const evidence = `compared with what the files create; ${others.length} objects or grants of others`;
  if (wrong.length === 0) return ok(evidence);
  const why = wrong.map(({ object, difference }) => `${difference}: ${object}`).join("\n");
  return failed(evidence, why, `Undo the change, or make it in a migration. ${show} lists all differences.`);
}
