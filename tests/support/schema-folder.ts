import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { type ApplyOptions, type ApplyResult, applySchema } from "../../scripts/lib/schema/apply.ts";
import { readAllFiles, readSchema } from "../../scripts/lib/schema/source.ts";

/** Contents of files by their names. */
export type Files = Readonly<Record<string, string>>;

/** A folder of SQL files. */
export interface SchemaFolder extends AsyncDisposable {
  readonly dir: string;
  write(files: Files): Promise<void>;
  remove(name: string): Promise<void>;
}

/** Writes files into a new folder, which is removed when it is disposed of. */
export async function withFiles(files: Files): Promise<SchemaFolder> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-schema-"));
  const folder: SchemaFolder = {
    dir,
    async write(more) {
      for (const [name, text] of Object.entries(more)) {
        await mkdir(dirname(join(dir, name)), { recursive: true });
        await writeFile(join(dir, name), text);
      }
    },
    remove: (name) => rm(join(dir, name)),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
  await mkdir(join(dir, "migrations"));
  await mkdir(join(dir, "routines"));
  await folder.write(files);
  return folder;
}

/** Applies the files of a folder; a test passes only the options that matter to it. */
export async function apply(
  target: ConnectionTarget,
  { dir }: { readonly dir: string },
  options: Partial<ApplyOptions> = {},
): Promise<ApplyResult> {
  return applySchema(target, {
    files: options.files ?? (await readSchema(dir)),
    timeoutMs: 30_000,
    signal: new AbortController().signal,
    onWait: () => {},
    onNotice: () => {},
    ...options,
  });
}

/** Applies the product's files, then those of a project's folder. */
export async function applyProject(
  { administrator }: { readonly administrator: ConnectionTarget },
  { dir }: { readonly dir: string },
  options: Partial<ApplyOptions> = {},
): Promise<ApplyResult> {
  return apply(administrator, { dir }, { files: await readAllFiles(dir), ...options });
}

/** @returns the ScriptError that work fails with */
export async function failure(work: Promise<unknown>): Promise<ScriptError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ScriptError) return error;
    throw error;
  }
  return assert.fail("it did not fail");
}

/** @returns names of the files that are applied */
export async function readLedger(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`select name from public.schema_migration order by name collate "C"`;
  return rows.map(({ name }) => name);
}

/** @returns names of the tables in public */
export async function tablesOf(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' order by relname`;
  return rows.map(({ name }) => name);
}
