import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import type { Sql } from "../../postgres/driver.ts";
import { applySchema } from "../../schema/apply.ts";
import { type LedgerEntry, readLedger } from "../../schema/ledger.ts";
import { conflictError, describeConflict, findConflicts, planSchema, type SchemaConflict } from "../../schema/plan.ts";
import { readAllFiles, type SchemaFile, titleOf } from "../../schema/source.ts";
import { type DoctorContext, onOwnServer, type Probe } from "../context.ts";
import type { Finding, Repair } from "../finding.ts";
import { type InvalidIndex, repairIndex, statementOf } from "../invalid-index.ts";

/** The files of the schema, and what their statements have left. */
export const schemaProbe: Probe = { area: "schema", find: findSchemaProblems };

async function findSchemaProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const { sql } = await context.server();
  const invalid = await findInvalidIndexes(context, sql);
  try {
    const files = await readAllFiles(context.config.sqlDir);
    return [...findFileProblems(context, files, await readLedger(sql)), ...invalid];
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return [unusableFile(error), ...invalid];
  }
}

function unusableFile({ message, why = message, fix = "" }: ScriptError): Finding {
  return { id: "migration-unusable", symptom: "schema", cause: `${message}.`, evidence: why, fix };
}

const kinds: Readonly<Record<SchemaConflict["kind"], Pick<Finding, "id" | "cause">>> = {
  edited: { id: "migration-edited", cause: "A file was edited after it was applied, so no file can be applied." },
  renamed: { id: "migration-renamed", cause: "A file was renamed after it was applied, so no file can be applied." },
  missing: { id: "migration-unknown", cause: "The database is newer than the files, or a file was deleted." },
  "out-of-order": { id: "migration-out-of-order", cause: "A new file comes before one that is applied." },
};

function findFileProblems(
  context: DoctorContext,
  files: readonly SchemaFile[],
  ledger: readonly LedgerEntry[],
): Finding[] {
  const conflicts = findConflicts(files, ledger);
  if (conflicts.length > 0) {
    return conflicts.map((conflict) => {
      const { fix = "" } = conflictError(conflict, files);
      return { ...kinds[conflict.kind], symptom: "schema", evidence: describeConflict(conflict), fix };
    });
  }
  const { pending } = planSchema(files, ledger);
  const isBegun = (file: SchemaFile) =>
    ledger.some((entry) => titleOf(entry) === titleOf(file) && entry.progress !== null);
  const begun = pending.filter(isBegun);
  return [
    ...begun.map((file) => unfinished(context, file)),
    ...(pending.length > begun.length
      ? [
          pendingFiles(
            context,
            pending.filter((file) => !begun.includes(file)),
          ),
        ]
      : []),
  ];
}

function unfinished(context: DoctorContext, file: SchemaFile): Finding {
  return {
    id: "migration-unfinished",
    symptom: "schema",
    cause: "A file that runs without a transaction was interrupted.",
    evidence: `${titleOf(file)} is half applied`,
    fix: `Run ${runLine("schema apply")}, which goes on where it stopped.`,
    repair: applyRepair(context),
  };
}

function pendingFiles(context: DoctorContext, pending: readonly SchemaFile[]): Finding {
  return {
    id: "migrations-pending",
    symptom: "schema",
    cause: "Files of the schema are not applied.",
    evidence: pending.map(titleOf).join("\n"),
    fix: `Run ${runLine("schema apply")}.`,
    repair: applyRepair(context),
  };
}

function applyRepair({ config, run, stack }: DoctorContext): Repair {
  return {
    description: "applies the pending files of the schema",
    changesStack: true,
    run: async () =>
      await onOwnServer(await stack(), run, async (_session, target) => {
        await applySchema(target, {
          files: await readAllFiles(config.sqlDir),
          timeoutMs: config.timeoutMs,
          signal: run.signal,
          onWait: (holder) => run.reporter.info(`waiting for ${holder}, which is changing the schema`),
          onBlocked: (text) => run.reporter.info(text),
          onNotice: (text) => run.reporter.warn(text),
        });
      }),
  };
}

/** Indexes that an interrupted `create index concurrently` has left. While one is being built, its table is left out. */
async function findInvalidIndexes(context: DoctorContext, sql: Sql): Promise<Finding[]> {
  const rows = await sql<InvalidIndex[]>`
    select format('%I.%I', nspname, relname) as name, indrelid::regclass::text as "table",
      relname ~ '_cc(new|old)[0-9]*$' as "isLeftover", indisunique as "isUnique"
    from pg_index
    join pg_class on pg_class.oid = indexrelid
    join pg_namespace on pg_namespace.oid = relnamespace
    where not indisvalid and relkind = 'i' and nspname !~ '^pg_'
      and not exists (select from pg_stat_progress_create_index as running where running.relid = indrelid)
    order by 1`;
  return rows.map((index) => invalidIndex(context, index));
}

function invalidIndex(context: DoctorContext, index: InvalidIndex): Finding {
  const statement = statementOf(index);
  const finding: Finding = {
    id: "index-invalid",
    symptom: "schema",
    cause: "An index is INVALID: its creation was interrupted. It costs writes, and serves no query.",
    evidence: `${index.name} on ${index.table}`,
    fix: `Run ${statement}.`,
  };
  // A duplicate would make the repair fail, and leave a second index that is INVALID.
  if (index.isUnique && !index.isLeftover)
    return { ...finding, fix: `Delete the rows that are duplicates in its columns, then run ${statement}.` };
  const description = `runs ${statement}`;
  return { ...finding, repair: { description, changesStack: true, run: () => repairIndex(context, index) } };
}
