import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StoredFile } from "../archive/manifest.ts";
import { sha256 } from "../archive/segment.ts";
import type { ArchiveSink } from "../archive/sink.ts";
import { readSchema, type SchemaFile } from "../schema/source.ts";

/** The schema in an archive. */
export interface ArchivedSchema {
  /** The migrations, routines and optional files that were applied, in order. */
  readonly files: readonly SchemaFile[];
  /** SQL that creates the application's own objects; "" if there are none. */
  readonly applicationSql: string;
}

const applicationPath = "sql/application.sql";

/** Puts a schema into an archive. */
export async function putSchema(sink: ArchiveSink, { files, applicationSql }: ArchivedSchema): Promise<StoredFile[]> {
  const stored: StoredFile[] = [];
  const put = async (path: string, text: string) => {
    const content = Buffer.from(text);
    await sink.put(path, content);
    stored.push({ path, bytes: content.length, sha256: sha256(content) });
  };
  for (const { name, text } of files) await put(`sql/${name}`, text);
  if (applicationSql !== "") await put(applicationPath, applicationSql);
  return stored;
}

/** Reads the schema from an archive's folder. */
export async function readArchivedSchema(dir: string): Promise<ArchivedSchema> {
  const applicationSql = await readFile(join(dir, applicationPath), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return { files: await readSchema(join(dir, "sql")), applicationSql };
}

/** @returns the names (as in the ledger) and checksums of the files that created an archive's schema */
export function appliedFiles(schema: readonly StoredFile[]): { readonly name: string; readonly checksum: string }[] {
  return schema
    .filter(({ path }) => path !== applicationPath)
    .map(({ path, sha256 }) => ({ name: path.slice("sql/".length), checksum: sha256 }));
}
