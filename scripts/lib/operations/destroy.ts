import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { access, constants, lstat, readdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { explainFileError } from "../cli/file-error.ts";
import { readMajorVersion, removeLeftovers } from "../postgres/server/cluster.ts";
import { stopServer } from "../postgres/server/life-cycle.ts";
import { findDataVolume, keptFolders, removeData } from "../stack/compose/life-cycle.ts";
import { stopLocalVault } from "../stack/local-vault.ts";
import { lockForRun, type RunContext, type Stack, waitLimit } from "../stack/stack.ts";
import { removeState } from "../stack/state.ts";
import { destroyTestCluster, hasTestCluster, openTestCluster } from "../testing/test-server.ts";
import { countDatabases, type DatabaseCounts } from "./destroyed-databases.ts";
import { refuseExternal } from "./stop.ts";

/** What {@link destroyStack} is about to delete. */
export interface DestructionPlan extends DatabaseCounts {
  /** Null if there is only a test cluster. */
  readonly dataDirectory: string | null;
  /** Null if unknown, as for the volume of a stopped server. */
  readonly sizeBytes: number | null;
  /** Folders and volumes that are kept. */
  readonly kept: readonly string[];
  /** The data directory of the test server; null if there is none. */
  readonly testDirectory: string | null;
}

/** What there is besides the test cluster. */
type DataPlan = Omit<DestructionPlan, "testDirectory">;

/**
 * Determines what {@link destroyStack} would delete.
 *
 * @returns undefined if there is nothing to delete
 *
 * @throws {ScriptError} `EXTERNAL` (exit 8), or `FOREIGN_DATA` (exit 9) if the data directory is not a cluster
 */
export async function planDestruction(stack: Stack, run: RunContext): Promise<DestructionPlan | undefined> {
  const data =
    stack.mode === "compose" ? await planVolumeDestruction(stack, run) : await planFolderDestruction(stack, run);
  const test = await openTestCluster(stack.stackDir);
  const testDirectory = hasTestCluster(test) ? test.dataDir : null;
  if (data === undefined && testDirectory === null) return undefined;
  return { ...(data ?? noData), testDirectory };
}

const noCounts = { databases: null, streams: null, events: null, uncounted: null };
const noData = { dataDirectory: null, sizeBytes: null, ...noCounts, kept: [] };

async function planFolderDestruction(stack: Stack, run: RunContext): Promise<DataPlan | undefined> {
  refuseExternal(stack, "destroyed");
  if (!existsSync(stack.dataDir)) return undefined;
  await readMajorVersion(stack.dataDir);
  const keptNames = ["secrets", "vault/data", "postgres/backups"];
  const kept = keptNames.map((name) => join(stack.stackDir, name)).filter(existsSync);
  const sizeBytes = await folderSize(stack.dataDir);
  return { dataDirectory: stack.dataDir, sizeBytes, kept, ...(await countDatabases(stack, run)) };
}

async function planVolumeDestruction(stack: Stack, run: RunContext): Promise<DataPlan | undefined> {
  const found = await findDataVolume(stack);
  if (found === undefined) return undefined;
  const { volume, sizeBytes } = found;
  const kept = ["the volumes of Vault and of the keys", ...keptFolders(stack)];
  return { dataDirectory: `the volume ${volume}`, sizeBytes, kept, ...(await countDatabases(stack, run)) };
}

/**
 * Stops the server and the local Vault, and deletes the server's data. Keeps backups and secrets, including those in
 * the local Vault. Does the same with the test server. If this is interrupted, the next run completes it.
 */
export async function destroyStack(stack: Stack, run: RunContext): Promise<void> {
  using _lock = await lockForRun(stack, run, "destroy");
  const test = await openTestCluster(stack.stackDir, stack.config.timeoutMs);
  if (hasTestCluster(test)) await destroyTestCluster(test, run);
  await destroyData(stack, run);
}

async function destroyData(stack: Stack, run: RunContext): Promise<void> {
  if (stack.mode === "compose") return removeData(stack, run);
  if (!existsSync(stack.dataDir)) return;
  await readMajorVersion(stack.dataDir);
  await checkWritable(dirname(stack.dataDir));
  const wait = waitLimit(stack, run);
  await stopServer(stack.dataDir, wait);
  await stopLocalVault(stack.stackDir, wait);
  // The state goes first: a stack that remembers a cluster without having one is refused.
  await removeState(stack.stackDir);
  // Renamed to a leftover, which the next bootstrap removes: half a cluster must not be mistaken for a whole one.
  await rename(stack.dataDir, `${stack.dataDir}.tmp-${randomUUID().slice(0, 8)}`);
  await removeLeftovers(stack.dataDir);
}

/** Checked first, so that the server is not stopped in vain. */
async function checkWritable(folder: string): Promise<void> {
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw explainFileError(error, folder);
  });
}

async function folderSize(folder: string): Promise<number> {
  let sizeBytes = 0;
  for (const entry of await readdir(folder, { recursive: true })) {
    const stats = await lstat(join(folder, entry)).catch(() => undefined);
    sizeBytes += stats?.isFile() === true ? stats.size : 0;
  }
  return sizeBytes;
}
