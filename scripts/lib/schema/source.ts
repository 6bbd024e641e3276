import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import { explainFileError } from "../cli/file-error.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { assetsDir } from "../paths.ts";

/** Whose files: the product's own, or those of the project that uses it. Each source numbers its migrations itself. */
export type SchemaSource = "cqrs" | "app";

/** A migration is applied once, a routine whenever it changes, and an optional file once if it is requested. */
export type SchemaFileKind = "migration" | "routine" | "optional";

/** A SQL file of the schema. */
export interface SchemaFile {
  readonly source: SchemaSource;
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

/** The folders that a source may have, in the order in which their files are applied. */
const folders: Readonly<Record<SchemaSource, readonly (readonly [string, SchemaFileKind])[]>> = {
  cqrs: [
    ["migrations", "migration"],
    ["routines", "routine"],
    ["optional", "optional"],
  ],
  app: [
    ["migrations", "migration"],
    ["routines", "routine"],
  ],
};

/** What else a project's SQL folder may contain. */
const otherFolders = ["seeds"];

/**
 * Reads the files of a database: the product's, then the project's, which may depend on them.
 *
 * @param projectSqlDir the project's SQL folder, which need not exist
 * @throws {ScriptError} as `readSchema()`
 */
export async function readAllFiles(projectSqlDir: string, options: ReadOptions = {}): Promise<SchemaFile[]> {
  return [...(await readSchema()), ...(await readSchema(projectSqlDir, "app", options))];
}

/** How to read schema files. */
export interface ReadOptions {
  /** Whether a number that is used twice is refused; @default true */
  readonly isChecked?: boolean;
}

/**
 * Reads the schema files of a source in the order in which they are applied: migrations by number, routines by folder
 * and name (functions, queries, triggers, views: each depends only on those before it), then optional files.
 *
 * @param dir the folder of `migrations/` and `routines/`, neither of which need exist
 * @throws {ScriptError} `MIGRATION_NAME` (exit 2) for a file that would be ignored because of its name, and for a number
 * that is used twice; `FILE_TEXT` (exit 2) for one that is not text
 */
export async function readSchema(
  dir: string = schemaDir,
  source: SchemaSource = "cqrs",
  { isChecked = true }: ReadOptions = {},
): Promise<SchemaFile[]> {
  if (source === "app") await checkFolder(dir);
  const read = folders[source].map(([folder, kind]) => readFolder({ dir, source, folder, kind }));
  const files = (await Promise.all(read)).flat();
  if (isChecked) checkNumbers(files.filter(({ kind }) => kind === "migration"));
  return files;
}

/** @returns the name of a file for people: `migrations/0001-schemas.sql`, or `app/migrations/0001-invoices.sql` */
export function titleOf({ source, name }: Pick<SchemaFile, "source" | "name">): string {
  return source === "cqrs" ? name : `${source}/${name}`;
}

/** @returns the name by which an optional file is requested: `x` for `optional/x.sql` */
export function optionalName(file: SchemaFile): string {
  return file.name.slice("optional/".length, -".sql".length);
}

/** @returns the four digits of a migration's name; undefined if it is not one of a migration */
export function numberOf(name: string): string | undefined {
  return /^migrations\/(\d{4})-[a-z0-9-]+\.sql$/.exec(name)?.[1];
}

/** @returns the number that a new migration would have */
export function nextNumber(names: readonly string[]): string {
  const last = Math.max(0, ...names.map((name) => Number(numberOf(name) ?? 0)));
  return String(last + 1).padStart(4, "0");
}

interface Folder {
  readonly dir: string;
  readonly source: SchemaSource;
  readonly folder: string;
  readonly kind: SchemaFileKind;
}

async function readFolder({ dir, source, folder, kind }: Folder): Promise<SchemaFile[]> {
  const entries = await list(join(dir, folder));
  const paths = entries.map((entry) => `${folder}/${entry.split(sep).join("/")}`).filter((name) => !isIgnored(name));
  for (const name of paths) checkName(name, kind, paths);
  return Promise.all(paths.toSorted().map((name) => readSqlFile(join(dir, name), { source, name, kind })));
}

type Identity = Pick<SchemaFile, "source" | "name" | "kind">;

/**
 * Reads a text, with LF line ends and without a byte order mark.
 *
 * @throws {ScriptError} `FILE_TEXT` (exit 2)
 */
export async function readText(path: string): Promise<string> {
  return decode(await readBytes(path), path)
    .replace(/^\uFEFF/, "")
    .replaceAll("\r\n", "\n");
}

async function readSqlFile(path: string, identity: Identity): Promise<SchemaFile> {
  const text = await readText(path);
  return { ...identity, path, text, checksum: createHash("sha256").update(text).digest("hex") };
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isAbsent(error))
      throw notReadable(path, "It has just been removed, or is a link to a file that does not exist.");
    throw explainFileError(error, path);
  }
}

function decode(bytes: Buffer, path: string): string {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // Invalid UTF-8.
  }
  throw notReadable(path, "It contains bytes that are not UTF-8, or a null character, behind which nothing is read.");
}

function notReadable(path: string, why: string): ScriptError {
  return new ScriptError({
    code: "FILE_TEXT",
    exitCode: exitCodes.usage,
    message: `${path} cannot be read as text in UTF-8`,
    why,
    fix: "Save it as UTF-8, then run this again.",
  });
}

/** @returns the files below a folder, relative to it; none if it does not exist */
async function list(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(dir, join(entry.parentPath, entry.name)));
  } catch (error) {
    // Not a folder: one of the entries beside the folders.
    if (isAbsent(error) || (error as NodeJS.ErrnoException).code === "ENOTDIR") return [];
    throw explainFileError(error, dir);
  }
}

/** Hidden files and folders, and descriptions. */
function isIgnored(path: string): boolean {
  return path.split("/").some((part) => part.startsWith(".")) || /^readme(\.|$)/i.test(basename(path));
}

/**
 * SQL that is not applied because of its place would be noticed when the application fails. Other files may lie beside
 * the folders, such as the sample of `init`.
 */
async function checkFolder(dir: string): Promise<void> {
  const known = [...folders.app.map(([folder]) => folder), ...otherFolders];
  const entries = await listEntries(dir);
  const others = entries.filter((entry) => !known.includes(entry) && entry !== "node_modules" && !isIgnored(entry));
  const inside = await Promise.all(others.map(async (entry) => [entry, ...(await list(join(dir, entry)))]));
  const other = others.find((_, index) => inside[index]?.some((path) => /\.sql$/i.test(path)));
  if (other === undefined) return;
  throw refusedName(
    `${join(dir, other)} would be ignored`,
    `SQL files are expected in the folders ${known.join(", ")} of ${dir}.`,
    "Move the file into one of them, or out of the folder.",
  );
}

async function listEntries(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw explainFileError(error, dir);
  }
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

function checkName(name: string, kind: SchemaFileKind, names: readonly string[]): void {
  const isRight = kind === "migration" ? numberOf(name) !== undefined : name.endsWith(".sql");
  if (!isRight) throw badName(name, kind, nextNumber(names));
}

function checkNumbers(migrations: readonly SchemaFile[]): void {
  const seen = new Map<string, string>();
  for (const file of migrations) {
    const number = numberOf(file.name) as string;
    const other = seen.get(number);
    if (other !== undefined) throw sameNumber(file, other, nextNumber(migrations.map(({ name }) => name)));
    seen.set(number, file.name);
  }
}

function badName(name: string, kind: SchemaFileKind, next: string): ScriptError {
  return kind === "migration"
    ? refusedName(
        `${name} is not a valid name for a migration`,
        "Its name is not four digits, a hyphen and words in lower case.",
        `Rename it, for example to ${next}-add-invoices.sql.`,
      )
    : refusedName(`${name} would be ignored`, "Its name does not end with .sql.", "Rename it, or move it elsewhere.");
}

function sameNumber({ source, name }: SchemaFile, other: string, next: string): ScriptError {
  const repair = source === "app" ? `, or run ${runLine("schema repair")}` : "";
  return refusedName(
    `${other} and ${name} have the same number`,
    "Migrations are applied in the order of their numbers.",
    `Give the one that is not applied yet another number, for example ${next}${repair}.`,
  );
}

function refusedName(message: string, why: string, fix: string): ScriptError {
  return new ScriptError({ code: "MIGRATION_NAME", exitCode: exitCodes.usage, message, why, fix });
}
