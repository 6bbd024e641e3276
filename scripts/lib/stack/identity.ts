import { readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Mode } from "../config.ts";
import { readSystemIdentifier } from "../postgres/server/cluster.ts";
import type { StackState } from "./state.ts";

/** What identifies the cluster of a stack, as `state.json` records it. */
export type ClusterIdentity = NonNullable<StackState["cluster"]>;

/** A cluster that could be read. */
interface FoundCluster {
  readonly identity: Required<ClusterIdentity>;
  /** Whether its files have names in another folder. */
  readonly isShared: boolean;
}

/** What is known of a stack before its cluster is trusted. */
export interface ClusterOwner {
  readonly mode: Mode;
  readonly dataDir: string;
  readonly stackDir: string;
  readonly remembered: StackState | undefined;
}

/** Why a stack must not use the cluster in its folder. */
export type ClusterProblem = "shared" | "gone" | "replaced" | "copied";

/**
 * Inspects the cluster of an embedded stack. Reads files only: applications do this for each new connection, and on
 * Deno they need not be allowed to run programs.
 *
 * @returns the problem; undefined also if this user may not read the data directory
 */
export async function findClusterProblem(owner: ClusterOwner): Promise<ClusterProblem | undefined> {
  if (owner.mode !== "embedded") return undefined;
  const state = owner.remembered?.mode === "embedded" ? owner.remembered : undefined;
  const found = await readCluster(owner.dataDir);
  if (found === "unreadable") return undefined;
  if (found === "absent") return state === undefined || state.cluster === null ? undefined : "gone";
  return compare(found, state?.cluster ?? undefined);
}

function compare({ identity, isShared }: FoundCluster, known: ClusterIdentity | undefined): ClusterProblem | undefined {
  const isReplaced = known !== undefined && known.systemIdentifier !== identity.systemIdentifier;
  const isMoved = known?.inode !== undefined && known.inode !== identity.inode;
  // Only the folder that the files were made in may use them; a folder that was linked to them may not.
  if (isShared && (isReplaced || isMoved || known?.directory !== identity.directory)) return "shared";
  if (isReplaced) return "replaced";
  return isMoved ? "copied" : undefined;
}

/** @returns the identity of the cluster in a data directory; null if there is none or it cannot be read */
export async function readClusterIdentity(dataDir: string): Promise<Required<ClusterIdentity> | null> {
  const found = await readCluster(dataDir);
  return typeof found === "string" ? null : found.identity;
}

/** @returns whether the files of a cluster have names in another folder too */
export async function isClusterShared(dataDir: string): Promise<boolean> {
  const found = await readCluster(dataDir);
  return typeof found !== "string" && found.isShared;
}

/** @returns the folder that the stack used before, if the remembered cluster is still there */
export async function findOriginal({ dataDir, remembered }: ClusterOwner): Promise<string | undefined> {
  const { directory, inode } = remembered?.cluster ?? {};
  if (directory === undefined || directory === (await realpath(dataDir).catch(() => dataDir))) return undefined;
  const original = await readClusterIdentity(directory);
  return original !== null && original.inode === inode ? directory : undefined;
}

/**
 * PostgreSQL writes `pg_control` in place: the server, pg_resetwal and pg_rewind never replace it by another file. So
 * its inode stays the same until the data directory is copied. The device is left out: its number changes when the
 * machine restarts. PG_VERSION is never written again.
 */
async function readCluster(dataDir: string): Promise<FoundCluster | "absent" | "unreadable"> {
  const control = join(dataDir, "global/pg_control");
  try {
    const [version, facts] = await Promise.all([stat(join(dataDir, "PG_VERSION")), stat(control, { bigint: true })]);
    const systemIdentifier = await readSystemIdentifier(dataDir);
    const identity = { systemIdentifier, inode: `${facts.ino}`, directory: await realpath(dataDir) };
    return { identity, isShared: version.nlink > 1 || facts.nlink > 1n };
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "absent" : "unreadable";
  }
}

/**
 * Finds the port of the server of a data directory, from files only.
 *
 * @returns undefined if no server is running there
 */
export async function readOwnPort(dataDir: string): Promise<number | undefined> {
  const found = await readPidFile(dataDir);
  return found === undefined || (await isCopiedFrom(found.directory, dataDir)) ? undefined : found.port;
}

/** @returns the folder in which the server of a data directory looks for its files; undefined without a pid file */
export async function readServedFolder(dataDir: string): Promise<string | undefined> {
  return (await readPidFile(dataDir))?.directory;
}

async function readPidFile(dataDir: string) {
  const content = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "");
  const [, directory, , port] = content.split("\n");
  return directory === undefined || port === undefined ? undefined : { directory, port: Number(port) };
}

/** The pid file of a running server is copied along with its data directory. */
async function isCopiedFrom(directory: string, dataDir: string): Promise<boolean> {
  if (directory === dataDir) return false;
  const [original, own] = await Promise.all([directory, dataDir].map(readClusterIdentity));
  return original !== null && original?.inode !== own?.inode;
}
