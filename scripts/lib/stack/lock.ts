import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, sep } from "node:path";
import process from "node:process";
import type { DatabaseSync } from "node:sqlite";
import { locked } from "../cli/errors.ts";
import { explainFileError, folderUnusable } from "../cli/file-error.ts";
import { assetsDir, isClone } from "../paths.ts";
import { pollUntil, type WaitLimit } from "../retry.ts";

/** How to wait for the lock. */
export interface LockOptions extends WaitLimit {
  /** The script that takes the lock, as shown to scripts that wait for it. */
  readonly command: string;
  /** Called once, if the lock is not free immediately. */
  readonly onWait: (holder: string) => void;
}

const pollIntervalMs = 50;

/**
 * Takes the lock of a stack, so that only one script changes it at a time.
 *
 * Neither Bun nor Deno offers `flock`, but both include SQLite, which locks its file through the kernel. The kernel
 * releases the lock however the process ends, so there are no stale locks (`infrastructure/decisions/0002`).
 *
 * @returns an object that releases the lock when it is disposed of
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder, if the lock was not free in time
 */
export async function lockStack(stackDir: string, options: LockOptions): Promise<Disposable> {
  const { command, onWait, ...limit } = options;
  // Loaded on use: on Node.js 22, merely loading it prints a warning into the application that calls connect().
  const { DatabaseSync } = await import("node:sqlite");
  createFolder(stackDir);
  const holderFile = join(stackDir, "stack.lock.holder");
  let isWaiting = false;
  const tryOnce = () => {
    const lock = tryLock(DatabaseSync, join(stackDir, "stack.lock"));
    if (lock === undefined && !isWaiting) onWait(readHolder(holderFile));
    isWaiting = true;
    return lock;
  };
  const lock = await pollUntil(tryOnce, { ...limit, intervalMs: pollIntervalMs });
  if (lock === undefined) {
    const why = `The lock of ${stackDir} was not free for ${limit.timeoutMs} ms.`;
    throw locked(`${readHolder(holderFile)} is using this stack`, why);
  }
  writeHolder(holderFile, `${command} (pid ${process.pid})`);
  return { [Symbol.dispose]: () => release(lock, holderFile) };
}

function createFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    keepOutOfGit(folder);
  } catch (error) {
    const explained = explainFileError(error, folder);
    if (explained !== error) throw explained;
    const why = `It cannot be created: ${(error as Error).message}.`;
    throw folderUnusable(folder, why, "Set CQRS_STACK_DIR to a folder that this user can create.");
  }
}

/** A clone's own .gitignore covers its stack. Without the file, only `git status` is longer. */
function keepOutOfGit(folder: string): void {
  if (isClone && folder.startsWith(join(assetsDir, sep))) return;
  try {
    writeFileSync(join(folder, ".gitignore"), "*\n", { flag: "wx" });
  } catch {
    // It exists, or the disk is full.
  }
}

/** Writes nothing, so that a stack can still be stopped and destroyed if the disk is full. */
function tryLock(Database: typeof DatabaseSync, file: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new Database(file);
    database.exec("pragma busy_timeout = 0; pragma journal_mode = memory; begin exclusive");
    return database;
  } catch (error) {
    database?.close();
    const { message } = error as Error;
    if (/locked|busy/.test(message)) return undefined;
    throw folderUnusable(
      file,
      `The lock cannot be taken: ${message}.`,
      "Give this user access to the folder, or remove the file.",
    );
  }
}

/** Tells waiting scripts who holds the lock; the lock works without it. */
function writeHolder(file: string, holder: string): void {
  try {
    writeFileSync(file, holder);
  } catch {
    // For example, the disk is full.
  }
}

function release(lock: DatabaseSync, holderFile: string): void {
  try {
    rmSync(holderFile, { force: true });
  } catch {
    // For example, the file system is read-only.
  }
  lock.close();
}

function readHolder(file: string): string {
  try {
    return readFileSync(file, "utf8") || "another script";
  } catch {
    return "another script";
  }
}
