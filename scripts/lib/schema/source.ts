import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { assetsDir } from "../paths.ts";

/** A migration is applied once, a routine whenever it changes, and an optional file once if it is requested. */
export type SchemaFileKind = "migration" | "routine" | "optional";

/** A SQL file of the schema. */
export interface SchemaFile {
  /** Its name in the ledger: `migrations/0001-schemas.sql`, `routines/functions/event_store.append_events.sql`. */
  readonly name: string;
  readonly kind: SchemaFileKind;
  /** Path of the file, for error messages. */
  readonly path: string;
  /** Its content, with LF line endings and without a byte order mark. */
  readonly text: string;
  /** sha-256 of `text`, in hexadecimal. */
  readonly checksum: string;
}

/** The folder of the product's own schema. */
export const schemaDir: string = join(assetsDir, "sql");

/**
 * Reads the schema files in the order in which they are applied: migrations by number, routines by folder and name
 * (functions, queries, triggers, views: each depends only on those before it), then optional files.
 *
 * @param dir the folder of `migrations/`, `routines/` and possibly `optional/`
 * @throws {ScriptError} `MIGRATION_NAME` (exit 2) for a name without a number, or a number that is used twice
 */
export async function readSchema(dir: string = schemaDir): Promise<SchemaFile[]> {
  const migrations = await readFolder(dir, "migrations", "migration");
  checkNumbers(migrations);
  const routines = await readFolder(dir, "routines", "routine");
  const hasOptional = existsSync(join(dir, "optional"));
  return [...migrations, ...routines, ...(hasOptional ? await readFolder(dir, "optional", "optional") : [])];
}

/** @returns the name by which an optional file is requested: `x` for `optional/x.sql` */
export function optionalName(file: SchemaFile): string {
  return file.name.slice("optional/".length, -".sql".length);
}

async function readFolder(dir: string, folder: string, kind: SchemaFile["kind"]): Promise<SchemaFile[]> {
  const entries = await readdir(join(dir, folder), { recursive: true });
  const names = entries.filter((name) => name.endsWith(".sql")).toSorted();
  return Promise.all(
    names.map(async (fileName) => {
      const path = join(dir, folder, fileName);
      const text = (await readFile(path, "utf8")).replace(/^\uFEFF/, "").replaceAll("\r\n", "\n");
      const checksum = createHash("sha256").update(text).digest("hex");
      return { name: `${folder}/${fileName}`, kind, path, text, checksum };
    }),
  );
}

function checkNumbers(migrations: readonly SchemaFile[]): void {
  const seen = new Map<string, string>();
  for (const { name } of migrations) {
    const number = numberOf(name);
    if (number === undefined) throw badName(name, nextNumber(migrations));
    const other = seen.get(number);
    if (other !== undefined) throw sameNumber(other, name, nextNumber(migrations));
    seen.set(number, name);
  }
}

function numberOf(name: string): string | undefined {
  return /^migrations\/(\d{4})-[a-z0-9-]+\.sql$/.exec(name)?.[1];
}

/** @returns the number that a new migration would have */
function nextNumber(migrations: readonly SchemaFile[]): string {
  const last = Math.max(0, ...migrations.map(({ name }) => Number(numberOf(name) ?? 0)));
  return String(last + 1).padStart(4, "0");
}

function badName(name: string, next: string): ScriptError {
  return refusedName(
    `${name} is not a valid name for a migration`,
    "Its name is not four digits, a hyphen and words in lower case.",
    `Rename it, for example to ${next}-add-invoices.sql.`,
  );
}

function sameNumber(one: string, other: string, next: string): ScriptError {
  return refusedName(
    `${one} and ${other} have the same number`,
    "Migrations are applied in the order of their numbers.",
    `Give the one that is not applied yet another number, for example ${next}.`,
  );
}

function refusedName(message: string, why: string, fix: string): ScriptError {
  return new ScriptError({ code: "MIGRATION_NAME", exitCode: exitCodes.usage, message, why, fix });
}
