import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type ClusterOwner, type ClusterProblem, findClusterProblem, findOriginal } from "./identity.ts";

/** The note about a stack whose files were linked into another folder. */
export const sharedNote = "another folder has hard links to the files of the cluster; delete it, and never start it";

/** The note about a stack whose server has lost its pid file. */
export const pidFileNote =
  `postmaster.pid was removed while the server was running, so PostgreSQL shuts down within a minute; run ` +
  `${runLine("stop")} && ${runLine("bootstrap")}`;

/**
 * Refuses to work with another cluster than the one that the stack remembers. Changes nothing.
 *
 * @throws {ScriptError} `CLUSTER_SHARED` (exit 9), `CLUSTER_GONE` or `OTHER_CLUSTER` (exit 8)
 */
export async function checkCluster(owner: ClusterOwner): Promise<void> {
  const problem = await findClusterProblem(owner);
  if (problem === "shared") throw clusterShared(owner);
  if (problem !== undefined) throw otherCluster(problem, owner, await findOriginal(owner));
}

/** @returns what is wrong with the cluster of a stack, in one sentence */
export function describeProblem(
  problem: Exclude<ClusterProblem, "shared">,
  { dataDir, stackDir }: ClusterOwner,
  original: string | undefined,
): string {
  if (problem === "gone") return `The data directory of this stack is gone: ${dataDir}`;
  if (problem === "replaced") return `${dataDir} is not the cluster that ${stackDir}/state.json names`;
  return original === undefined
    ? `${dataDir} was copied, restored or moved from another file system`
    : `${dataDir} is a copy of ${original}`;
}

/** @returns the error of a cluster whose files also belong to another folder (exit 9) */
export function clusterShared({ dataDir, remembered }: ClusterOwner): ScriptError {
  const original = remembered?.cluster?.directory;
  const where = original === undefined || original === dataDir ? "the folder that it was made in" : original;
  return new ScriptError({
    code: "CLUSTER_SHARED",
    exitCode: exitCodes.prerequisite,
    message: `The files of ${dataDir} also belong to another folder`,
    why:
      "They are hard links, such as bun add <folder> and cp -al make. Two servers on the same files would destroy " +
      "the data. Nothing was started or changed.",
    fix:
      `Use the stack in ${where}. If this folder is the one to keep, delete the other one. For a second stack, stop ` +
      `the server, make a real copy (cp -a), and run ${adopt} in it.`,
  });
}

function otherCluster(
  problem: Exclude<ClusterProblem, "shared">,
  owner: ClusterOwner,
  original: string | undefined,
): ScriptError {
  return new ScriptError({
    code: problem === "gone" ? "CLUSTER_GONE" : "OTHER_CLUSTER",
    exitCode: exitCodes.refused,
    message: describeProblem(problem, owner, original),
    why: `${reasons[problem]} Nothing was started or changed.`,
    fix: fixes[problem],
  });
}

const reasons = {
  gone: "Its events are gone with it. A new, empty cluster must not take its place unnoticed.",
  replaced: "The system identifiers differ, so it was replaced, or state.json belongs to another stack.",
  copied:
    "It is another file than the one in state.json, whose settings and credentials may lead to the server of the " +
    "original.",
} as const;

const adopt = runLine("bootstrap --adopt");

const fixes = {
  gone: `Put it back. If it is lost, run ${adopt}, which creates an empty one, then ${runLine("restore latest")}.`,
  replaced: `Put the right one back, or run ${adopt}, which makes this one the cluster of the stack.`,
  copied: `Run ${adopt}, which makes it a stack of its own.`,
} as const;
