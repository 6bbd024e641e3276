import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { explainFileError } from "../cli/file-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { syncFolder } from "../durable-file.ts";
import { countBytes, type Manifest, readManifest } from "./manifest.ts";
import { partialSuffix, removePartials } from "./partial.ts";
import { FolderSink, type PublishedArchive, type WriteFiles } from "./sink.ts";

/** An archive in a folder of archives. */
export interface ListedArchive {
  readonly dir: string;
  readonly manifest: Manifest;
  /** Size on disk. */
  readonly sizeBytes: number;
  /** When it last passed a verification; null if it never did. */
  readonly verifiedAt: string | null;
}

/** A file next to the manifest that is not part of the archive. */
const verifiedName = "verified-at";

/** @returns a name that sorts by time: `cqrs_db-20261125T031500123Z` */
export function archiveId(database: string, now: Date): string {
  return `${database.replaceAll(/[^\w.-]/g, "_")}-${now.toISOString().replaceAll(/[-:.]/g, "")}`;
}

/**
 * Writes an archive under a temporary name, and renames it once all of it is on disk.
 *
 * First removes the incomplete archives of interrupted runs. The caller must hold the lock of the archives.
 *
 * @param folder the folder that contains the archives; created if it does not exist
 */
export async function publishArchive(folder: string, id: string, write: WriteFiles): Promise<PublishedArchive> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await removePartials(folder, id.slice(0, id.lastIndexOf("-") + 1));
    const path = join(folder, id);
    const manifest = await writeFolder(path, write);
    await syncFolder(folder);
    return { path, manifest };
  } catch (error) {
    throw explainFileError(error, folder);
  }
}

async function writeFolder(dir: string, write: WriteFiles): Promise<Manifest> {
  const partial = `${dir}${partialSuffix}`;
  await mkdir(partial, { mode: 0o700 });
  try {
    const manifest = await write(new FolderSink(partial));
    await rename(partial, dir);
    return manifest;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** Lists the archives in a folder, oldest first. Skips anything that this version cannot read as an archive. */
export async function listArchives(folder: string): Promise<ListedArchive[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw explainFileError(error, folder);
  });
  const archives: ListedArchive[] = [];
  for (const name of names) {
    const dir = join(folder, name);
    const manifest = name.endsWith(partialSuffix) ? undefined : await readManifest(dir).catch(() => undefined);
    if (manifest === undefined) continue;
    const verifiedAt = await readFile(join(dir, verifiedName), "utf8").catch(() => null);
    archives.push({ dir, manifest, sizeBytes: countBytes(manifest), verifiedAt });
  }
  return archives.toSorted((a, b) => (a.manifest.startedAt < b.manifest.startedAt ? -1 : 1));
}

/** Records that an archive passed a verification; does nothing if the archive is read-only. */
export async function markVerified(dir: string, now: Date): Promise<void> {
  await writeFile(join(dir, verifiedName), now.toISOString(), { mode: 0o600 }).catch(() => {});
}

/**
 * Finds an archive by `latest`, its name in the folder, or a path.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2)
 */
export async function findArchive(folder: string, requested: string): Promise<string> {
  if (requested === "latest") {
    const latest = (await listArchives(folder)).at(-1);
    if (latest === undefined) throw noArchive(`There is no archive in ${folder}`, "Run bun run backup.");
    return latest.dir;
  }
  for (const path of [join(folder, requested), resolve(requested)]) {
    if ((await stat(path).catch(() => undefined)) !== undefined) return path;
  }
  throw noArchive(
    `There is no archive ${requested}, neither in ${folder} nor at that path`,
    "Run bun run backup list and choose one that it shows.",
  );
}

function noArchive(message: string, fix: string): ScriptError {
  return new ScriptError({ code: "NO_ARCHIVE", exitCode: exitCodes.usage, message, fix });
}
