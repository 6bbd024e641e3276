import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";

/** The format that this version writes and reads. */
export const formatVersion = 2;
export const manifestName = "manifest.json";

const size = v.pipe(v.number(), v.integer(), v.minValue(0));
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const bigint = v.pipe(v.string(), v.regex(/^-?\d+$/));
/** Paths in a manifest cannot lead out of the archive. */
const path = v.pipe(v.string(), v.regex(/^(schema|data)\/[\w.\-/]+$/), v.excludes(".."));

const storedFile = v.object({ path, bytes: size, sha256 });
const segment = v.object({ ...storedFile.entries, rawBytes: size, rawSha256: sha256 });
const table = v.object({
  schema: v.string(),
  name: v.string(),
  columns: v.array(v.string()),
  rows: size,
  segments: v.array(segment),
});
const sequence = v.object({ schema: v.string(), name: v.string(), lastValue: bigint, isCalled: v.boolean() });

const name = v.object({ schema: v.string(), name: v.string() });
const role = v.nullable(v.string());
const databaseFacts = v.object({
  comment: v.nullable(v.string()),
  /** -1 if there is none. */
  connectionLimit: v.number(),
  /** As `pg_database` names them; `locale` is that of ICU and of the builtin provider. */
  locale: v.object({
    ctype: v.string(),
    rules: v.nullable(v.string()),
    locale: v.nullable(v.string()),
    collate: v.string(),
    provider: v.string(),
  }),
  /** `name=value`; those without a role are of the database itself. */
  settings: v.array(v.object({ role, settings: v.array(v.string()) })),
  /** Privileges on the database; without a grantee, they are of everyone. */
  grants: v.array(v.object({ grantee: role, privilege: v.string(), isGrantable: v.boolean() })),
});
const needs = v.object({
  roles: v.array(v.string()),
  extensions: v.array(v.object({ name: v.string(), version: v.string() })),
});

const manifest = v.object({
  format: v.literal(formatVersion),
  id: v.pipe(v.string(), v.regex(/^[\w.-]+$/)),
  /** Grows from archive to archive in a folder, even if the clock is put back. */
  order: size,
  /** The full archive that this one is based on; null for a full one. */
  base: v.nullable(v.object({ id: v.string(), safePosition: bigint })),
  /** The only schema whose rows it contains; null if it contains all rows. */
  only: v.nullable(v.literal("event_store")),
  tool: v.string(),
  /** `server_version_num`: 160014. */
  server: size,
  database: v.string(),
  databaseFacts,
  startedAt: v.pipe(v.string(), v.isoTimestamp()),
  endedAt: v.pipe(v.string(), v.isoTimestamp()),
  /** The position up to which the log was complete before the snapshot was taken. */
  safePosition: bigint,
  /** Id of the last event up to `safePosition`; identifies the history on which an incremental archive is based. */
  safeEvent: v.nullable(v.string()),
  /** The greatest position in the archive. */
  lastPosition: bigint,
  /** What made the tables of the log: an incremental archive needs a base for which it is the same. */
  logSchema: sha256,
  /** The files that were applied, as in the ledger; those of a project begin with `app/`. */
  applied: v.array(v.object({ name: v.string(), checksum: sha256 })),
  /** What must exist on a server to restore it. */
  needs,
  /** What pg_dump prints: the objects that rows need, and those that are created once the rows are loaded. */
  schema: v.object({ preData: storedFile, postData: storedFile }),
  tables: v.array(table),
  sequences: v.array(sequence),
  /** Null if there are none. */
  largeObjects: v.nullable(v.object({ objects: table, pages: table })),
  /** Materialized views that contain rows, in the order in which they can be refreshed. */
  views: v.array(name),
  /** What the archive does not contain, one phrase each. */
  omitted: v.array(v.string()),
  compression: v.object({ codec: v.literal("zstd"), level: size }),
  /** How compressed segments are encrypted; `keyId` distinguishes keys without revealing them. */
  encryption: v.nullable(v.object({ cipher: v.literal("AES-256-GCM"), keyId: v.string() })),
});

/** A file of an archive. */
export type StoredFile = v.InferOutput<typeof storedFile>;
/** A piece of a table's COPY stream, compressed on its own so that it can be checked before it is used. */
export type Segment = v.InferOutput<typeof segment>;
/** A table of an archive. */
export type ArchivedTable = v.InferOutput<typeof table>;
/** A sequence of an archive. */
export type ArchivedSequence = v.InferOutput<typeof sequence>;
/** What belongs to a database itself rather than to its contents. */
export type DatabaseFacts = v.InferOutput<typeof databaseFacts>;
/** The roles and extensions that a restore needs. */
export type Needs = v.InferOutput<typeof needs>;
/** Describes an archive. The manifest is written last, so an archive that has one is complete. */
export type Manifest = v.InferOutput<typeof manifest>;

/** Whether a file of an archive, other than its manifest, may have this path. */
export function isStoredPath(text: string): boolean {
  return v.is(path, text);
}

/** @returns the number of rows in an archive */
export function countRows({ tables }: Manifest): number {
  return tables.reduce((sum, { rows }) => sum + rows, 0);
}

/** @returns what has segments: the tables, and the two parts of large objects */
export function storedTables({ tables, largeObjects }: Manifest): ArchivedTable[] {
  return largeObjects === null ? tables : [...tables, largeObjects.objects, largeObjects.pages];
}

/** @returns all files except the manifest */
export function storedFiles(manifest: Manifest): StoredFile[] {
  const { preData, postData } = manifest.schema;
  return [preData, postData, ...storedTables(manifest).flatMap(({ segments }) => segments)];
}

/** @returns the size of all files except the manifest */
export function countBytes(manifest: Manifest): number {
  return storedFiles(manifest).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** @returns the manifest as it is stored, with its digest */
export function serializeManifest(content: Manifest): string {
  return `${JSON.stringify({ manifest: content, sha256: digest(content) })}\n`;
}

/**
 * Reads the manifest of an archive.
 *
 * @param dir the archive's folder
 * @throws {ScriptError} `ARCHIVE_INCOMPLETE`, `ARCHIVE_CORRUPT` (exit 11), or `ARCHIVE_NEWER` (exit 8)
 */
export async function readManifest(dir: string): Promise<Manifest> {
  const text = await readFile(join(dir, manifestName), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") throw incomplete(dir);
    throw error;
  });
  const envelope = parseEnvelope(text);
  if (envelope === undefined || envelope.sha256 !== digest(envelope.manifest)) throw corruptManifest(dir);
  const { format } = (envelope.manifest ?? {}) as { readonly format?: unknown };
  if (typeof format === "number" && format > formatVersion) throw newer(dir);
  if (format === 1) throw older(dir);
  const parsed = v.safeParse(manifest, envelope.manifest);
  if (parsed.success && serializeManifest(parsed.output) === text) return parsed.output;
  throw corruptManifest(dir);
}

function parseEnvelope(text: string): { readonly manifest: unknown; readonly sha256: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && "manifest" in value && "sha256" in value;
    return isObject ? (value as { manifest: unknown; sha256: unknown }) : undefined;
  } catch {
    return undefined;
  }
}

function digest(content: unknown): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

function incomplete(dir: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_INCOMPLETE",
    exitCode: exitCodes.verification,
    message: `The archive ${dir} is incomplete`,
    why: `It has no ${manifestName}, which is written last.`,
    fix: `Run ${runLine("backup list")} and choose another archive.`,
  });
}

function corruptManifest(dir: string): ScriptError {
  return corrupt(dir, `${manifestName} has changed since it was written.`);
}

/** @returns the error of an archive that has changed since it was written (exit 11) */
export function corrupt(dir: string, why: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_CORRUPT",
    exitCode: exitCodes.verification,
    message: `The archive ${dir} is damaged`,
    why,
    fix: `Restore an undamaged copy of it, or run ${runLine("backup list")} and choose another archive.`,
  });
}

function newer(dir: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_NEWER",
    exitCode: exitCodes.refused,
    message: `The archive ${dir} was written by a newer version`,
    why: `This version reads archives of format ${formatVersion}.`,
    fix: "Use the version of this project that wrote it, or a newer one.",
  });
}

function older(dir: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_OLDER",
    exitCode: exitCodes.refused,
    message: `The archive ${dir} has format 1, which was never released and which this version does not read`,
    fix: "Restore it with the commit that wrote it, then back up with this version.",
  });
}
