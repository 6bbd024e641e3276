import { createHash } from "node:crypto";
import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { readAdministrator } from "../postgres/logins/roles.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { applySchema } from "../schema/apply.ts";
import { readSchema, type SchemaFile } from "../schema/source.ts";
import { ensureDatabase } from "../stack/database.ts";
import { type RunContext, waitLimit } from "../stack/stack.ts";
import { openServer, type TestServer } from "./test-server.ts";

/** A database that the databases of tests are copied from, and the files that it is made of. */
export interface Template {
  readonly name: string;
  readonly files: readonly SchemaFile[];
}

const prefix = "cqrs_template_";
const buildingSuffix = "_building";
const hashDigits = 16;
/** Besides the current one: a developer who switches between two branches keeps both. */
const keptTemplates = 2;

/** Determines the template for the current schema files: another one after each change of any of them. */
export async function findTemplate(): Promise<Template> {
  const files = await listSchemaFiles();
  const hash = createHash("sha256");
  for (const { name, checksum } of files) hash.update(`${checksum} ${name}\n`);
  return { name: `${prefix}${hash.digest("hex").slice(0, hashDigits)}`, files };
}

/** The files of a test's schema: those that `bootstrap` applies. */
async function listSchemaFiles(): Promise<SchemaFile[]> {
  return (await readSchema()).filter(({ kind }) => kind !== "optional");
}

/**
 * Builds a template unless it exists. The caller holds the lock of the test server's stack. A template has its name only
 * once it is complete, so what a killed process leaves behind is built again.
 */
export async function ensureTemplate(server: TestServer, template: Template, run: RunContext): Promise<void> {
  await using connection = await openServer(server);
  const { sql } = connection;
  if (await databaseExists(sql, template.name)) return;
  await dropOldTemplates(sql);
  const building = `${template.name}${buildingSuffix}`;
  await sql.unsafe(`drop database if exists ${quoteIdentifier(building)} with (force)`);
  await ensureDatabase(sql, await readAdministrator(sql), building);
  await applyFiles({ ...server.administrator, database: building }, server, { files: template.files, run });
  await sql.unsafe(`alter database ${quoteIdentifier(building)} allow_connections false`);
  await sql.unsafe(`alter database ${quoteIdentifier(building)} rename to ${quoteIdentifier(template.name)}`);
}

interface Application {
  readonly files: readonly SchemaFile[];
  readonly run: RunContext;
}

async function applyFiles(target: ConnectionTarget, { stack }: TestServer, { files, run }: Application): Promise<void> {
  await applySchema(target, {
    ...waitLimit(stack, run),
    files,
    onWait: (holder) => run.reporter.info(`waiting for ${holder}, which is changing the schema`),
    onNotice: (text) => run.reporter.warn(text),
  });
}

async function databaseExists(sql: Sql, name: string): Promise<boolean> {
  const [row] = await sql`select from pg_catalog.pg_database where datname = ${name}`;
  return row !== undefined;
}

/** Keeps the newest ones. Skips a template that a database is being copied from. */
async function dropOldTemplates(sql: Sql): Promise<void> {
  const rows = await sql<{ name: string }[]>`
    select datname as name from pg_catalog.pg_database
    where datname like ${`${prefix.replaceAll("_", "\\_")}%`}
    order by oid desc
    offset ${keptTemplates}`;
  await sql`set lock_timeout = '200ms'`;
  for (const { name } of rows) {
    await sql.unsafe(`drop database if exists ${quoteIdentifier(name)}`).catch(ignoreInUse);
  }
  await sql`reset lock_timeout`;
}

/** 55P03: the lock was not free in time; 55006: a session uses it. */
function ignoreInUse(error: unknown): void {
  if (!["55P03", "55006"].includes(errorCode(error))) throw error;
}
