import { randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import { constants, link, lstat, mkdir, open, readdir, rm, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import type { ScriptError } from "../cli/script-error.ts";
import { syncFolder, writeDurably } from "../durable-file.ts";
import {
  ensureSecret,
  SecretConflict,
  type SecretData,
  type SecretStore,
  type SecretStoreStatus,
  type SecretVersion,
  splitSecretPath,
  unusableSecret,
} from "./store.ts";

const keptVersions = 10;
const othersMask = 0o077;

/**
 * Keeps secrets in files that only their owner can read.
 *
 * A secret is a folder, and each version is a file `<version>.json` in it. `link()` creates the file, and fails if it
 * exists: writes are atomic even if the process crashes, and compare-and-set needs no lock.
 */
export class FileSecretStore implements SecretStore {
  readonly #root: string;

  /** @param root the folder of the store; the first write creates it */
  constructor(root: string) {
    this.#root = root;
  }

  async read(path: string): Promise<SecretVersion | undefined> {
    const folder = await this.#existingFolder(path);
    const version = folder === undefined ? 0 : await newestVersion(folder);
    if (folder === undefined || version === 0) return undefined;
    return { data: await readVersion(versionFile(folder, version)), version };
  }

  async write(path: string, data: SecretData, options: { readonly cas: number }): Promise<number> {
    const folder = await this.#ensureFolder(path);
    const newest = await newestVersion(folder);
    if (newest !== options.cas) throw new SecretConflict(path, options.cas, newest);
    const version = newest + 1;
    if (!(await publish(folder, version, data))) {
      throw new SecretConflict(path, options.cas, await newestVersion(folder));
    }
    await removeOldVersions(folder, version - keptVersions);
    return version;
  }

  ensure(path: string, make: () => SecretData): Promise<SecretVersion & { readonly isNew: boolean }> {
    return ensureSecret(this, path, make);
  }

  /** @returns the folder of a secret */
  folderOf(path: string): string {
    return join(this.#root, ...splitSecretPath(path));
  }

  /** @returns the values of all versions of a secret that are left, the oldest first */
  async readVersions(path: string): Promise<readonly SecretData[]> {
    const folder = await this.#existingFolder(path);
    if (folder === undefined) return [];
    const versions = (await listVersions(folder)).toSorted((one, other) => one - other);
    return Promise.all(versions.map((version) => readVersion(versionFile(folder, version))));
  }

  /** Deletes a secret with all its versions. */
  async remove(path: string): Promise<void> {
    const folder = await this.#existingFolder(path);
    if (folder === undefined) return;
    await rm(folder, { recursive: true });
    await syncFolder(dirname(folder));
  }

  async status(): Promise<SecretStoreStatus> {
    return { kind: "file", location: this.#root, isReady: (await checkFolder(this.#root)) !== undefined };
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #existingFolder(path: string): Promise<string | undefined> {
    for (const folder of this.#foldersTo(path)) {
      if ((await checkFolder(folder)) === undefined) return undefined;
    }
    return this.folderOf(path);
  }

  async #ensureFolder(path: string): Promise<string> {
    await mkdir(dirname(this.#root), { recursive: true });
    for (const folder of this.#foldersTo(path)) {
      await mkdir(folder, { mode: 0o700 }).catch(ignoreCode("EEXIST"));
      await checkFolder(folder);
    }
    return this.folderOf(path);
  }

  #foldersTo(path: string): string[] {
    const parts = splitSecretPath(path);
    return [this.#root, ...parts.map((_, index) => join(this.#root, ...parts.slice(0, index + 1)))];
  }
}

function versionFile(folder: string, version: number): string {
  return join(folder, `${version}.json`);
}

async function listVersions(folder: string): Promise<number[]> {
  const names = await readdir(folder);
  return names.filter((name) => /^[1-9]\d*\.json$/.test(name)).map((name) => Number.parseInt(name, 10));
}

async function newestVersion(folder: string): Promise<number> {
  return Math.max(0, ...(await listVersions(folder)));
}

/** @returns false if the version already exists */
async function publish(folder: string, version: number, data: SecretData): Promise<boolean> {
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  try {
    await writeDurably(temporary, JSON.stringify(data));
    await link(temporary, versionFile(folder, version));
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  } finally {
    await unlink(temporary).catch(ignoreCode("ENOENT"));
  }
  await syncFolder(folder);
  return true;
}

async function removeOldVersions(folder: string, last: number): Promise<void> {
  for (const version of await listVersions(folder)) {
    if (version <= last) await unlink(versionFile(folder, version)).catch(ignoreCode("ENOENT"));
  }
}

async function readVersion(file: string): Promise<SecretData> {
  await checkFile(file);
  await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  const data = parseJson(await handle.readFile("utf8"));
  if (isSecretData(data)) return data;
  throw unusable(file, "Its content is not a JSON object of strings.");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isSecretData(value: unknown): value is SecretData {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((entry) => typeof entry === "string");
}

/** @returns undefined if the folder does not exist */
async function checkFolder(folder: string): Promise<Stats | undefined> {
  const stats = await lstat(folder).catch(ignoreCode("ENOENT"));
  if (stats === undefined) return undefined;
  if (!stats.isDirectory()) throw unusable(folder, "It is not a folder; symbolic links are not followed.");
  return checkAccess(folder, stats, "700");
}

async function checkFile(file: string): Promise<void> {
  const stats = await lstat(file);
  if (!stats.isFile()) throw unusable(file, "It is not a regular file; symbolic links are not followed.");
  checkAccess(file, stats, "600");
}

function checkAccess(path: string, stats: Stats, wantedMode: string): Stats {
  const user = process.getuid?.();
  if (user !== undefined && stats.uid !== user) {
    throw unusable(
      path,
      `It belongs to user ${stats.uid}, but this script runs as user ${user}.`,
      "Run this as its owner.",
    );
  }
  if ((stats.mode & othersMask) !== 0) {
    const mode = (stats.mode & 0o777).toString(8);
    throw unusable(
      path,
      `Other users have access: its mode is ${mode}.`,
      `Run chmod ${wantedMode} ${JSON.stringify(path)}`,
    );
  }
  return stats;
}

function unusable(path: string, why: string, fix = "Inspect it, then repair or remove it."): ScriptError {
  return unusableSecret(path, why, fix);
}

function ignoreCode(code: string): (error: unknown) => undefined {
  return (error) => {
    if (!hasCode(error, code)) throw error;
  };
}

function hasCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}
