import { createHash } from "node:crypto";
import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import { type SchemaFile, titleOf } from "../schema/source.ts";

/** A database that others are copied from, and the files that it is made of. Nobody can connect to it. */
export interface Template {
  readonly name: string;
  readonly files: readonly SchemaFile[];
}

/** Makes a new database of this name, with the files applied. */
export type BuildDatabase = (name: string) => Promise<void>;

const prefix = "cqrs_template_";
const buildingSuffix = "_building";
const hashDigits = 16;
/** Besides the current one: a developer who switches between two branches keeps both. */
const keptTemplates = 2;

/**
 * Names the template for schema files: another one after each change of any of them.
 *
 * @param facts what else its content depends on, such as the server's version
 */
export function nameTemplate(files: readonly SchemaFile[], facts: readonly string[] = []): Template {
  const hash = createHash("sha256");
  for (const file of files) hash.update(`${file.checksum} ${titleOf(file)}\n`);
  for (const fact of facts) hash.update(`${fact}\n`);
  return { name: `${prefix}${hash.digest("hex").slice(0, hashDigits)}`, files };
}

/**
 * Builds a template unless it exists, and drops old ones. A template has its name only once it is complete, so what a
 * killed process leaves behind is built again. The caller holds a lock that excludes other builders.
 *
 * @param sql a session in another database of the server
 */
export async function ensureTemplate(sql: Sql, { name }: Template, build: BuildDatabase): Promise<void> {
  if (await templateExists(sql, name)) return;
  await dropOldTemplates(sql);
  const building = `${name}${buildingSuffix}`;
  await sql.unsafe(`drop database if exists ${quoteIdentifier(building)} with (force)`);
  await build(building);
  await sql.unsafe(`alter database ${quoteIdentifier(building)} allow_connections false`);
  await sql.unsafe(`alter database ${quoteIdentifier(building)} rename to ${quoteIdentifier(name)}`);
}

export async function templateExists(sql: Sql, name: string): Promise<boolean> {
  const [row] = await sql`select from pg_catalog.pg_database where datname = ${name}`;
  return row !== undefined;
}

/** `file_copy` writes checkpoints, which is slow if the server waits for the disk; otherwise it is the faster one. */
export type CopyStrategy = "file_copy" | "wal_log";

/** @returns whether there is such a template */
export async function copyTemplate(sql: Sql, template: string, name: string, strategy: CopyStrategy): Promise<boolean> {
  const [from, to] = [template, name].map(quoteIdentifier);
  try {
    await sql.unsafe(`create database ${to} with owner ${groupRoles.owner} template ${from} strategy ${strategy}`);
    return true;
  } catch (error) {
    if (errorCode(error) === "3D000") return false;
    throw error;
  }
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
