import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { quoteLiteral } from "../postgres/quote.ts";
import type { SchemaFile, SchemaSource } from "./source.ts";

/** A row of `public.schema_migration`. */
export interface LedgerEntry {
  readonly source: SchemaSource;
  readonly name: string;
  /** Of the file; of the statements that were run, if it is incomplete. */
  readonly checksum: string;
  readonly appliedAt: Date;
  readonly progress: Progress | null;
}

/** How far a file without a transaction was applied. */
export interface Progress {
  /** Number of statements that were run. */
  readonly statements: number;
  /** Whether the next one was begun, so that it may have been run as well. */
  readonly isInDoubt: boolean;
}

/** What to write about a file. */
export interface LedgerNote {
  readonly file: Pick<SchemaFile, "source" | "name">;
  readonly checksum: string;
  readonly durationMs: number;
  /** The login that applies it. */
  readonly appliedBy: string;
  readonly progress?: Progress;
}

/**
 * Reads which files were applied to a database.
 *
 * @returns an empty list if there is no ledger yet
 */
export async function readLedger(sql: Sql): Promise<LedgerEntry[]> {
  if (!(await ledgerExists(sql))) return [];
  // Before migration 0012, the ledger has neither source nor progress.
  return sql<LedgerEntry[]>`
    select coalesce(fields ->> 'source', 'cqrs') as source, name, checksum, applied_at as "appliedAt",
           case when fields ->> 'statements_done' is not null
             then jsonb_build_object('statements', fields -> 'statements_done', 'isInDoubt', fields -> 'is_in_doubt')
           end as progress
    from public.schema_migration as entry
    cross join lateral (select to_jsonb(entry) as fields) as row
    order by source desc, name collate "C"`;
}

/**
 * Notes that a file was applied, or how far.
 *
 * @param sql a session of the role that applies the file; a project's role writes the ledger through a function
 */
export async function writeLedger(sql: Sql, note: LedgerNote): Promise<void> {
  await sql.unsafe(ledgerStatement(note, "true"));
}

/**
 * @param condition of SQL, without which nothing is noted
 * @returns a statement that notes a file; it returns a row if it has
 */
export function ledgerStatement({ file, progress, ...note }: LedgerNote, condition: string): string {
  const [name, checksum, appliedBy] = [file.name, note.checksum, note.appliedBy].map(quoteLiteral);
  const { durationMs } = note;
  if (file.source === "app") {
    const { statements = null, isInDoubt = false } = progress ?? {};
    return `
      select public.record_project_file(${name}, ${checksum}, ${appliedBy}, ${durationMs}, ${statements}, ${isInDoubt})
      where ${condition}`;
  }
  if (progress !== undefined) throw new Error(`${file.name} needs a transaction: the product has no other files`);
  return `
    with updated as (
      update public.schema_migration as entry
      set checksum = ${checksum}, applied_at = clock_timestamp(), applied_by = ${appliedBy}, duration_ms = ${durationMs}
      where name = ${name} and to_jsonb(entry) ->> 'source' is distinct from 'app' and ${condition}
      returning name
    ), inserted as (
      insert into public.schema_migration (name, checksum, applied_by, duration_ms)
      select ${name}, ${checksum}, ${appliedBy}, ${durationMs} where not exists (select from updated) and ${condition}
      returning name
    )
    select name from updated union all select name from inserted`;
}

/** The role that applies the files of a source. */
export const sourceRoles: Readonly<Record<SchemaSource, string>> = { cqrs: groupRoles.owner, app: groupRoles.appOwner };

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
