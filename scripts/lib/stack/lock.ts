import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { locked } from "../cli/errors.ts";
import { explainFileError, folderUnusable } from "../cli/file-error.ts";

/** How to wait for the lock. */
export interface LockOptions {
  /** The script that asks, for whoever waits. */
  readonly command: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called once when the lock is not free at once. */
  readonly onWait: (holder: string) => void;
}

const pollIntervalMs = 50;

/**
 * Takes the lock of a stack: one script at a time changes it.
 *
 * Neither Bun nor Deno offers `flock`, but both bring SQLite, which locks its file by the kernel: the lock ends with
 * the process, however that ends, so there is no left-over lock to judge (`infrastructure/decisions/0002`).
 *
 * @returns gives the lock back when it is disposed of
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder, when it was not free in time
 */
export async function lockStack(stackDir: string, options: LockOptions): Promise<Disposable> {
  makeFolder(stackDir);
  const deadline = Date.now() + options.timeoutMs;
  const holderFile = join(stackDir, "stack.lock.holder");
  for (let attempt = 0; ; attempt++) {
    const lock = tryLock(join(stackDir, "stack.lock"));
    if (lock !== undefined) {
      nameHolder(holderFile, `${options.command} (pid ${process.pid})`);
      return { [Symbol.dispose]: () => release(lock, holderFile) };
    }
    const holder = readHolder(holderFile);
    if (attempt === 0) options.onWait(holder);
    if (Date.now() > deadline) {
      throw locked(
        `${holder} is using this stack`,
        `The lock of ${stackDir} was not free for ${options.timeoutMs} ms.`,
      );
    }
    await sleep(pollIntervalMs, undefined, { signal: options.signal });
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const explained = explainFileError(error, folder);
    if (explained !== error) throw explained;
    const why = `It can't be made: ${(error as Error).message}.`;
    throw folderUnusable(folder, why, "Choose a folder that this user can make: CQRS_STACK_DIR.");
  }
}

/** Writes nothing, so that a stack on a full disk can still be stopped and destroyed. */
function tryLock(file: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    database.exec("pragma busy_timeout = 0; pragma journal_mode = memory; begin exclusive");
    return database;
  } catch (error) {
    database?.close();
    const { message } = error as Error;
    if (/locked|busy/.test(message)) return undefined;
    throw folderUnusable(
      file,
      `The lock can't be taken: ${message}.`,
      "Give this user access to the folder, or remove that file.",
    );
  }
}

/** Only for whoever waits; the lock holds without it. */
function nameHolder(file: string, holder: string): void {
  try {
    writeFileSync(file, holder);
  } catch {
    // The disk is full, for instance.
  }
}

function release(lock: DatabaseSync, holderFile: string): void {
  rmSync(holderFile, { force: true });
  lock.close();
}

function readHolder(file: string): string {
  try {
    return readFileSync(file, "utf8") || "another script";
  } catch {
    return "another script";
  }
}
