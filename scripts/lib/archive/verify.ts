import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  type ArchivedTable,
  corrupt,
  type Manifest,
  readManifest,
  type StoredFile,
  storedFiles,
  storedTables,
} from "./manifest.ts";
import { countColumnEnds, countRowEnds } from "./rows.ts";
import type { Seal } from "./seal.ts";
import { readSegment } from "./segment.ts";

/**
 * Checks that an archive is complete, and that the size and digest of each file are correct. Decompresses nothing.
 *
 * @throws {ScriptError} `ARCHIVE_INCOMPLETE`, `ARCHIVE_CORRUPT` (exit 11) naming the file, `ARCHIVE_NEWER` (exit 8)
 */
export async function verifyArchive(dir: string): Promise<Manifest> {
  const manifest = await readManifest(dir);
  for (const file of storedFiles(manifest)) await verifyFile(dir, file);
  return manifest;
}

/**
 * Performs the checks of {@link verifyArchive}, then decompresses all segments and counts their rows and columns.
 *
 * @throws {ScriptError} `ARCHIVE_CORRUPT`, `ARCHIVE_KEY` (exit 11)
 */
export async function verifyDeeply(dir: string, seal: Seal): Promise<Manifest> {
  const manifest = await verifyArchive(dir);
  for (const table of storedTables(manifest)) await verifyRows(dir, table, seal);
  return manifest;
}

async function verifyFile(dir: string, file: StoredFile): Promise<void> {
  const path = join(dir, file.path);
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) throw corrupt(dir, `${file.path} is missing.`);
  if (stats.size !== file.bytes) throw corrupt(dir, `${file.path} has ${stats.size} bytes, not ${file.bytes}.`);
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  if (hash.digest("hex") !== file.sha256) throw corrupt(dir, `${file.path} has changed since it was written.`);
}

async function verifyRows(dir: string, table: ArchivedTable, seal: Seal): Promise<void> {
  let rows = 0;
  let columns = 0;
  for (const segment of table.segments) {
    for (const piece of await readSegment(dir, segment, seal)) {
      rows += countRowEnds(piece);
      columns += countColumnEnds(piece);
    }
  }
  const expected = rows * Math.max(table.columns.length - 1, 0);
  if (rows === table.rows && columns === expected) return;
  throw corrupt(
    dir,
    `${table.schema}.${table.name} has ${rows} rows, not ${table.rows}, or the wrong number of columns.`,
  );
}
