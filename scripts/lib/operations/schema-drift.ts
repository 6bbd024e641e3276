import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { readDatabaseFacts } from "../archive/database-facts.ts";
import { type ArchiveContext, withArchivesLocked } from "../backup/lock.ts";
import { createScratchDatabase } from "../backup/scratch-database.ts";
import { replaceDurably } from "../durable-file.ts";
import type { Sql } from "../postgres/driver.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { environment } from "../runtime.ts";
import { applySchema } from "../schema/apply.ts";
import { compareSchemas, dumpSchema, type SchemaDifference } from "../schema/dump.ts";
import { optionalName, readAllFiles, type SchemaFile, titleOf } from "../schema/source.ts";
import { administratorTarget, type RunContext, type Stack } from "../stack/stack.ts";

/**
 * Compares the schema of a database with that of one that the files alone create, on the same server.
 *
 * @param applied names of the files that were applied, which include optional ones
 * @throws {ScriptError} `LOCKED` (exit 5) during a backup or restore, if the other database has to be created
 */
export async function readDrift(
  stack: Stack,
  applied: readonly string[],
  run: RunContext,
): Promise<SchemaDifference[]> {
  const target = await administratorTarget(stack);
  const reference = await readReference(stack, applied, run);
  return compareSchemas(reference, await dumpSchema(target, run.signal));
}

/** Dumps the schema that the files alone create. Kept in the user's cache, by server version and content of the files. */
export async function readReference(stack: Stack, applied: readonly string[], run: RunContext): Promise<string> {
  const target = await administratorTarget(stack);
  const files = await readFiles(stack, applied);
  return await withArchivesLocked({ stack, target, run, command: "schema" }, async (context) => {
    const file = await cacheFile(context.maintenance, files);
    const cached = await readFile(file, "utf8").catch(() => undefined);
    if (cached !== undefined) return cached;
    const dump = await dumpReference(context, target, files);
    // Without a cache, the next run creates it again.
    await mkdir(cacheFolder(), { recursive: true, mode: 0o700 })
      .then(() => replaceDurably(file, dump))
      .catch(() => {});
    return dump;
  });
}

/** @returns what an earlier run has kept in the cache; undefined if there is none for these files and this server */
export async function readCachedReference(
  stack: Stack,
  applied: readonly string[],
  sql: Sql,
): Promise<string | undefined> {
  const file = await cacheFile(sql, await readFiles(stack, applied));
  return await readFile(file, "utf8").catch(() => undefined);
}

async function readFiles({ config }: Stack, applied: readonly string[]): Promise<SchemaFile[]> {
  const all = await readAllFiles(config.sqlDir);
  return all.filter((file) => file.kind !== "optional" || applied.includes(titleOf(file)));
}

async function dumpReference(
  context: ArchiveContext,
  { database }: ConnectionTarget,
  files: readonly SchemaFile[],
): Promise<string> {
  const { maintenance, run, stack } = context;
  const facts = await readDatabaseFacts(maintenance, database);
  if (facts === undefined) throw new Error(`the database ${database} was dropped meanwhile`);
  await using scratch = await createScratchDatabase(context, "scratch", facts);
  const optional = files.filter(({ kind }) => kind === "optional").map(optionalName);
  const { timeoutMs } = stack.config;
  const onNotice = (text: string) => run.reporter.verbose(text);
  await applySchema(scratch.target, {
    files,
    database,
    optional,
    timeoutMs,
    signal: run.signal,
    onWait: () => {},
    onNotice,
  });
  return await dumpSchema(scratch.target, run.signal);
}

async function cacheFile(sql: Sql, files: readonly SchemaFile[]): Promise<string> {
  const [row] = await sql`select version() as version`;
  const content = [row?.["version"], ...files.map(({ name, checksum }) => [name, checksum])];
  const digest = createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 32);
  return join(cacheFolder(), `schema-${digest}.sql`);
}

function cacheFolder(): string {
  return join(environment()["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "cqrs-postgres");
}
