import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BackupOptions, type BackupResult, createBackup } from "../../scripts/lib/backup/create.ts";
import { type RestoreOptions, type RestoreResult, restoreArchive } from "../../scripts/lib/backup/restore.ts";
import { loadConfig } from "../../scripts/lib/config.ts";
import { openStack, type Stack } from "../../scripts/lib/stack/stack.ts";
import { type TestDatabase, withDatabase } from "./database.ts";
import { silentRun } from "./stack.ts";

/** A database for one test, a stack that uses it, and a folder for its archives. */
export interface ArchiveTest extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly stack: Stack;
  readonly folder: string;
  backUp(options?: Partial<BackupOptions>): Promise<BackupResult>;
  /** Restores the latest archive by default. */
  restore(options?: Partial<RestoreOptions>): Promise<RestoreResult>;
}

/** Creates a database and a folder for its archives; disposal removes both. */
export async function withArchives(): Promise<ArchiveTest> {
  const database = await withDatabase();
  const folder = await mkdtemp(join(tmpdir(), "cqrs-archives-"));
  const stack = await openStackOf(database);
  return {
    database,
    stack,
    folder,
    backUp: (options = {}) => createBackup(stack, { to: folder, onProgress: undefined, ...options }, silentRun),
    restore: (options = {}) => restoreArchive(stack, { ...restoreDefaults, from: folder, ...options }, silentRun),
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true });
      await database[Symbol.asyncDispose]();
    },
  };
}

/** A restore of the latest archive without questions. */
export const restoreDefaults: RestoreOptions = {
  archive: "latest",
  // Otherwise the replaced databases of all tests would pile up.
  dropOld: true,
  migrate: false,
  onlyEventStore: false,
  until: undefined,
  dryRun: false,
  confirm: async () => {},
  onProgress: undefined,
};

/** Opens the stack of the shared test cluster, with the test's database. */
function openStackOf(database: TestDatabase): Promise<Stack> {
  const sources = { environment: { CQRS_STACK_DIR: database.stackDir }, dotEnvFile: "/dev/null" };
  return openStack(loadConfig({ mode: "embedded", database: database.name }, sources));
}
