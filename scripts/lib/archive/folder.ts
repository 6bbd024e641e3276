import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { explainFileError } from "../cli/file-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { syncFolder } from "../durable-file.ts";
import { countBytes, type Manifest, readManifest } from "./manifest.ts";
import { partialSuffix, removePartials } from "./partial.ts";
import { type ArchiveSink, FolderSink } from "./sink.ts";

/** An archive as a list shows it. */
export interface ListedArchive {
  readonly dir: string;
  readonly manifest: Manifest;
  /** Bytes on the disk. */
  readonly sizeBytes: number;
  /** When it was last found to be whole; null when nobody has looked. */
  readonly verifiedAt: string | null;
}

/** Stands beside the manifest, and is no part of the archive. */
const verifiedName = "verified-at";

/** @returns a name that sorts by time: `cqrs_db-20261125T031500123Z` */
export function archiveId(database: string, now: Date): string {
  return `${database.replaceAll(/[^\w.-]/g, "_")}-${now.toISOString().replaceAll(/[-:.]/g, "")}`;
}

/**
 * Has an archive written under a temporary name, and gives it its own when all of it is on the disk.
 *
 * What earlier runs left under temporary names is removed first; the caller holds the archives' lock.
 *
 * @param folder where archives are kept; made when it is not there
 * @returns the archive's folder
 */
export async function publishArchive(
  folder: string,
  id: string,
  write: (sink: ArchiveSink) => Promise<void>,
): Promise<string> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await removePartials(folder, id.slice(0, id.lastIndexOf("-") + 1));
    const dir = join(folder, id);
    const partial = `${dir}${partialSuffix}`;
    await mkdir(partial, { mode: 0o700 });
    try {
      await write(new FolderSink(partial));
      await rename(partial, dir);
    } catch (error) {
      await rm(partial, { recursive: true, force: true });
      throw error;
    }
    await syncFolder(folder);
    return dir;
  } catch (error) {
    throw explainFileError(error, folder);
  }
}

/**
 * Lists the archives of a folder, the oldest first; what is not a whole archive of this version's is left out.
 */
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

/** Remembers that an archive was found to be whole; one that can't be written to is verified all the same. */
export async function markVerified(dir: string, now: Date): Promise<void> {
  await writeFile(join(dir, verifiedName), now.toISOString(), { mode: 0o600 }).catch(() => {});
}

/**
 * Finds an archive by what somebody typed: `latest`, its name in the folder, or a path.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2)
 */
export async function findArchive(folder: string, asked: string): Promise<string> {
  if (asked === "latest") {
    const latest = (await listArchives(folder)).at(-1);
    if (latest === undefined) throw noArchive(`There is no archive in ${folder}`);
    return latest.dir;
  }
  for (const dir of [join(folder, asked), resolve(asked)]) {
    if ((await stat(dir).catch(() => undefined)) !== undefined) return dir;
  }
  throw noArchive(`There is no archive ${asked}, neither in ${folder} nor as a path`);
}

function noArchive(message: string): ScriptError {
  return new ScriptError({ code: "NO_ARCHIVE", exitCode: exitCodes.usage, message, fix: "bun run backup list" });
}
