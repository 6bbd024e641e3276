import { ScriptError } from "../../cli/script-error.ts";
import { findPostmaster } from "../../postgres/server/postmaster.ts";
import { checkServedFolder } from "../../stack/adopt.ts";
import { checkCluster } from "../../stack/cluster-problem.ts";
import { type ClusterProblem, findClusterProblem } from "../../stack/identity.ts";
import type { Stack } from "../../stack/stack.ts";
import type { Finding } from "../finding.ts";

const kinds: Readonly<Record<ClusterProblem, Pick<Finding, "id" | "symptom">>> = {
  shared: { id: "cluster-shared", symptom: "data-at-risk" },
  gone: { id: "cluster-gone", symptom: "data-at-risk" },
  replaced: { id: "cluster-replaced", symptom: "does-not-start" },
  copied: { id: "cluster-copied", symptom: "does-not-start" },
};

/** Finds out whether the data directory was copied, moved, replaced, deleted or linked. */
export async function findClusterProblems(stack: Stack): Promise<Finding[]> {
  const problem = await findClusterProblem(stack);
  if (problem !== undefined) return await explain(kinds[problem], () => checkCluster(stack));
  const { mode, dataDir } = stack;
  if (mode !== "embedded" || (await findPostmaster(dataDir)).state !== "running") return [];
  return await explain({ id: "cluster-moved", symptom: "does-not-start" }, () => checkServedFolder(dataDir));
}

/** @param check throws the error that commands report */
async function explain(kind: Pick<Finding, "id" | "symptom">, check: () => Promise<void>): Promise<Finding[]> {
  try {
    await check();
    return [];
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    const { message, why = message, fix = "" } = error;
    return [{ ...kind, cause: `${message}.`, evidence: why, fix }];
  }
}
