import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StoredFile } from "../archive/manifest.ts";
import { sha256 } from "../archive/segment.ts";
import type { ArchiveSink } from "../archive/sink.ts";
import { readSchema, type SchemaFile } from "../schema/source.ts";

/** What an archive carries to make its schema again. */
export interface ArchivedSchema {
  /** Migrations, routines and optional files that were applied, in their order. */
  readonly files: readonly SchemaFile[];
  /** Makes what the application made; "" when that is nothing. */
  readonly application: string;
}

/** Where an archive has what the application made. */
const applicationPath = "sql/application.sql";

/** Puts the files of a schema into an archive. */
export async function putSchema(sink: ArchiveSink, { files, application }: ArchivedSchema): Promise<StoredFile[]> {
  const stored: StoredFile[] = [];
  const put = async (path: string, text: string) => {
    const content = Buffer.from(text);
    await sink.put(path, content);
    stored.push({ path, bytes: content.length, sha256: sha256(content) });
  };
  for (const { name, text } of files) await put(`sql/${name}`, text);
  if (application !== "") await put(applicationPath, application);
  return stored;
}

/** Reads what {@link putSchema} has put into an archive's folder. */
export async function readArchivedSchema(dir: string): Promise<ArchivedSchema> {
  const application = await readFile(join(dir, applicationPath), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return { files: await readSchema(join(dir, "sql")), application };
}

/** @returns names in the ledger, and checksums, of the files that an archive's schema was made by */
export function appliedFiles(schema: readonly StoredFile[]): { readonly name: string; readonly checksum: string }[] {
  return schema
    .filter(({ path }) => path !== applicationPath)
    .map(({ path, sha256 }) => ({ name: path.slice("sql/".length), checksum: sha256 }));
}
