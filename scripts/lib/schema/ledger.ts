import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { optionalName, type SchemaFile } from "./source.ts";

/** A row of `public.schema_migration`. */
export interface LedgerEntry {
  readonly name: string;
  readonly checksum: string;
  readonly appliedAt: Date;
}

/** The result of comparing the files with the ledger. */
export interface SchemaPlan {
  /** The files to apply, in order. */
  readonly pending: readonly SchemaFile[];
  readonly applied: readonly LedgerEntry[];
}

/**
 * Reads which files were applied to a database.
 *
 * @returns an empty list if there is no ledger yet
 */
export async function readLedger(sql: Sql): Promise<LedgerEntry[]> {
  if (!(await ledgerExists(sql))) return [];
  return sql<LedgerEntry[]>`
    select name, checksum, applied_at as "appliedAt" from public.schema_migration order by name collate "C"`;
}

/** Creates the ledger if it does not exist. The caller holds the lock of the schema. */
export async function createLedger(sql: Sql): Promise<void> {
  if (await ledgerExists(sql)) return;
  await sql.unsafe(`
    create table public.schema_migration (
      name text not null constraint schema_migration_pkey primary key,
      checksum text not null constraint schema_migration_checksum_is_sha256 check (checksum ~ '^[0-9a-f]{64}$'),
      applied_at timestamptz not null default clock_timestamp(),
      applied_by name not null default session_user,
      duration_ms integer not null
    );
    comment on table public.schema_migration is 'The ledger: the files of sql/ that were applied';
    comment on column public.schema_migration.name is 'Path below sql/, such as migrations/0001-schemas.sql';
    comment on column public.schema_migration.checksum is 'sha-256 of the file with LF line ends, in hexadecimal';
    comment on column public.schema_migration.applied_at is 'When it was applied';
    comment on column public.schema_migration.applied_by is 'The login that applied it';
    comment on column public.schema_migration.duration_ms is 'How long it took, in milliseconds';
    revoke all on table public.schema_migration from public;
  `);
}

async function ledgerExists(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ exists: boolean }[]>`
    select to_regclass('public.schema_migration') is not null as exists`;
  return row?.exists === true;
}

/**
 * Compares the files with the ledger.
 *
 * @param wanted names of optional files to apply; those already applied need not be listed
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4) if a migration was edited after it was applied, is missing, or comes
 * before one that was applied; `UNKNOWN_OPTION` (exit 2) if there is no optional file of that name
 */
export function planSchema(
  files: readonly SchemaFile[],
  applied: readonly LedgerEntry[],
  wanted: readonly string[] = [],
): SchemaPlan {
  const ledger = new Map(applied.map((entry) => [entry.name, entry]));
  const names = new Set(files.map(({ name }) => name));
  const missing = applied.find(({ name }) => !name.startsWith("routines/") && !names.has(name));
  if (missing !== undefined) throw missingFile(missing.name);
  checkWanted(files, wanted);
  const isWanted = (file: SchemaFile) =>
    file.kind !== "optional" || ledger.has(file.name) || wanted.includes(optionalName(file));
  const pending = files.filter((file) => isWanted(file) && ledger.get(file.name)?.checksum !== file.checksum);
  const last = applied.map(({ name }) => name).findLast((name) => name.startsWith("migrations/")) ?? "";
  for (const { kind, name } of pending) {
    if (kind === "routine") continue;
    if (ledger.has(name)) throw editedFile(name);
    if (kind === "migration" && name < last) throw outOfOrder(name, last);
  }
  return { pending, applied };
}

function checkWanted(files: readonly SchemaFile[], wanted: readonly string[]): void {
  const known = files.filter(({ kind }) => kind === "optional").map(optionalName);
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new ScriptError({
    code: "UNKNOWN_OPTION",
    exitCode: exitCodes.usage,
    message: `The schema has no optional file ${JSON.stringify(unknown)}`,
    why: "Optional files are in sql/optional.",
    fix: `Choose one of: ${known.join(", ") || "none"}.`,
  });
}

function editedFile(name: string): ScriptError {
  return drift(
    `${name} was edited after it was applied`,
    "Its checksum differs from the one in the ledger. Applied migrations must not change. Nothing was applied.",
    `Undo the edit (git checkout -- sql/${name}) and write the change as a new migration.`,
  );
}

function missingFile(name: string): ScriptError {
  return drift(
    `${name} was applied to this database, but the file is missing`,
    "The database is newer than this version of the project, or the file was removed. Nothing was applied.",
    "Use the newer version of the project, or restore the file.",
  );
}

function outOfOrder(name: string, last: string): ScriptError {
  return drift(
    `${name} comes before ${last}, which is already applied`,
    "Applying it now would give this database a different order of migrations than others. Nothing was applied.",
    "Give it a number after the last one.",
  );
}

function drift(message: string, why: string, fix: string): ScriptError {
  return new ScriptError({ code: "SCHEMA_DRIFT", exitCode: exitCodes.drift, message, why, fix });
}
