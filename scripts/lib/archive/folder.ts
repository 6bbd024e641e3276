import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { explainCreation, explainFileError } from "../cli/file-error.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { syncFolder } from "../durable-file.ts";
import { corrupt, countBytes, type Manifest, manifestName, readManifest } from "./manifest.ts";
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

/** An archive whose manifest is missing, damaged, of a newer format, or not readable by this user. */
export interface UnreadableArchive {
  readonly id: string;
  readonly dir: string;
  readonly problem: ScriptError;
}

/** The archives in a folder, each list in the order in which they were written. */
export interface ArchiveListing {
  readonly archives: readonly ListedArchive[];
  readonly unreadable: readonly UnreadableArchive[];
}

/** A file next to the manifest that is not part of the archive. */
const verifiedName = "verified-at";

/**
 * @returns a number that is greater than that of every archive in the folder: the time, unless the clock of an earlier
 * one was ahead
 */
export async function nextOrder(folder: string, now: Date): Promise<number> {
  // If the folder cannot be read, writing into it reports why.
  const { archives } = await listArchives(folder).catch(() => ({ archives: [] }));
  return Math.max(now.getTime(), (archives.at(-1)?.manifest.order ?? 0) + 1);
}

/** @returns a name that sorts by time: `cqrs_db-20261125T031500123Z` */
export function archiveId(database: string, now: Date): string {
  return `${database.replaceAll(/[^\w.-]/g, "_")}-${now.toISOString().replaceAll(/[-:.]/g, "")}`;
}

function isArchiveId(name: string): boolean {
  return /-\d{8}T\d{9}Z$/.test(name);
}

function timeOf(id: string): string {
  return id.slice(id.lastIndexOf("-") + 1);
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
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch(explainCreation(folder));
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
  await mkdir(partial, { mode: 0o700 }).catch(explainCreation(partial));
  try {
    const manifest = await write(new FolderSink(partial));
    await rename(partial, dir);
    return manifest;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** Lists the archives in a folder. Other files and folders in it are ignored, unless they are named like an archive. */
export async function listArchives(folder: string): Promise<ArchiveListing> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw explainFileError(error, folder);
  });
  const archives: ListedArchive[] = [];
  const unreadable: UnreadableArchive[] = [];
  for (const name of names.filter((name) => !name.endsWith(partialSuffix))) {
    const dir = join(folder, name);
    try {
      archives.push(await readListed(dir));
    } catch (error) {
      if (isArchiveId(name)) unreadable.push({ id: name, dir, problem: explainUnreadable(error, dir) });
    }
  }
  return {
    archives: archives.toSorted((a, b) => a.manifest.order - b.manifest.order),
    unreadable: unreadable.toSorted((a, b) => (timeOf(a.id) < timeOf(b.id) ? -1 : 1)),
  };
}

async function readListed(dir: string): Promise<ListedArchive> {
  const manifest = await readManifest(dir);
  const verifiedAt = await readFile(join(dir, verifiedName), "utf8").catch(() => null);
  return { dir, manifest, sizeBytes: countBytes(manifest), verifiedAt };
}

function explainUnreadable(error: unknown, dir: string): ScriptError {
  const explained = explainFileError(error, dir);
  if (explained instanceof ScriptError) return explained;
  return corrupt(dir, `${manifestName} cannot be read: ${(error as Error).message}.`);
}

/** Records that an archive passed a verification; does nothing if the archive is read-only. */
export async function markVerified(dir: string, now: Date): Promise<void> {
  await writeFile(join(dir, verifiedName), now.toISOString(), { mode: 0o600 }).catch(() => {});
}

/**
 * Finds an archive by `latest`, its name in the folder, or a path.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2); if the latest archive cannot be read, what prevents it (exit 8, 9 or 11)
 */
export async function findArchive(folder: string, requested: string): Promise<string> {
  if (requested === "latest") return findLatest(folder);
  for (const path of [join(folder, requested), resolve(requested)]) {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) return found.isFile() ? archiveOf(path) : path;
  }
  throw noArchive(
    `There is no archive ${requested}, neither in ${folder} nor at that path`,
    `Run ${runLine("backup list")} --from ${folder} and choose one that it shows.`,
  );
}

/** @returns the archive that a file belongs to: its folder, or the file itself if it is a tar file */
function archiveOf(file: string): string {
  const folders = [dirname(file), dirname(dirname(file))];
  const isWithin = (folder: string) => isArchiveId(basename(folder)) && existsSync(join(folder, manifestName));
  return folders.find(isWithin) ?? (basename(file) === manifestName ? dirname(file) : file);
}

/** Never falls back to an older archive: a user who asks for the latest one would not notice. */
async function findLatest(folder: string): Promise<string> {
  const { archives, unreadable } = await listArchives(folder);
  const latest = archives.at(-1);
  const broken = unreadable.findLast(({ id }) => latest === undefined || isNewer({ id }, latest));
  if (broken !== undefined) throw latestUnreadable(broken);
  if (latest === undefined)
    throw noArchive(`There is no archive in ${folder}`, `Run ${runLine("backup")} --to ${folder}.`);
  return latest.dir;
}

/** The time in its name is all that is known of an archive that cannot be read. A time in the future is wrong. */
function isNewer({ id }: Pick<UnreadableArchive, "id">, { manifest }: ListedArchive): boolean {
  const time = timeOf(id);
  return time > timeOf(manifest.id) && time <= timeOf(archiveId("", new Date()));
}

function latestUnreadable({ dir, problem }: UnreadableArchive): ScriptError {
  if (problem.exitCode !== exitCodes.verification) return problem;
  return new ScriptError({
    code: problem.code,
    exitCode: problem.exitCode,
    message: `The newest archive, ${dir}, is damaged`,
    ...(problem.why === undefined ? {} : { why: problem.why }),
    fix: `Restore an undamaged copy of it, or pass the name of an older archive that ${runLine("backup list")} shows.`,
  });
}

/** @returns the error of an archive, or a folder of archives, that does not exist (exit 2) */
export function noArchive(message: string, fix: string): ScriptError {
  return new ScriptError({ code: "NO_ARCHIVE", exitCode: exitCodes.usage, message, fix });
}
