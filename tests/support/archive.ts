import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../scripts/lib/config.ts";
import { type BackupOptions, type BackupResult, createBackup } from "../../scripts/lib/stack/backup.ts";
import { openStack, type Stack } from "../../scripts/lib/stack/stack.ts";
import type { TestDatabase } from "./database.ts";
import { sharedStack, silentRun } from "./stack.ts";

/** A folder for archives, removed when it is disposed of. */
export interface ArchiveFolder extends AsyncDisposable {
  readonly dir: string;
}

/** Makes a folder for archives. */
export async function withArchiveFolder(): Promise<ArchiveFolder> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-archives-"));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

/** Opens the stack of the tests' cluster as one whose database is a test's own. */
export async function openStackOf(database: TestDatabase): Promise<Stack> {
  const { stackDir } = await sharedStack();
  const sources = { environment: { CQRS_STACK_DIR: stackDir }, dotEnvFile: "/dev/null" };
  return openStack(loadConfig({ mode: "embedded", database: database.name }, sources));
}

/** Backs a test's database up. */
export async function backUp(
  database: TestDatabase,
  folder: ArchiveFolder,
  options: Partial<BackupOptions> = {},
): Promise<BackupResult> {
  const stack = await openStackOf(database);
  return createBackup(stack, { to: folder.dir, onProgress: () => {}, ...options }, silentRun);
}
