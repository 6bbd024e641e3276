import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Confirmation } from "../cli/confirm.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { choosePort, isPortFree } from "../postgres/server/port.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import { pollUntil } from "../retry.ts";
import { checkCluster, clusterShared, describeProblem, sharedNote } from "./cluster-problem.ts";
import { findClusterProblem, findOriginal, isClusterShared, readServedFolder } from "./identity.ts";
import type { Confirm } from "./repoint.ts";
import type { RunContext, Stack } from "./stack.ts";

/** `bootstrap --adopt`: makes the cluster that is in the folder the one of the stack. */
export interface AdoptOptions {
  /** Asks before an unsafe copy is started, or a secret that other applications read is changed. */
  readonly confirm: Confirm;
}

/**
 * Checks the cluster of a stack, or adopts it. Writes nothing: bootstrap records the new identity once the secret leads
 * to this stack's own server, so that a run that is killed earlier leaves a stack that is still refused.
 *
 * @param options undefined to refuse another cluster than the one that the stack remembers
 * @throws {ScriptError} `CLUSTER_SHARED` (exit 9), `CLUSTER_GONE` or `OTHER_CLUSTER` (exit 8)
 */
export async function settleCluster(stack: Stack, run: RunContext, options?: AdoptOptions): Promise<Stack> {
  if (options === undefined) await checkCluster(stack);
  const problem = await findClusterProblem(stack);
  if (problem === "shared") throw clusterShared(stack);
  if (await isClusterShared(stack.dataDir)) run.reporter.warn(sharedNote);
  await checkFolder(stack, run);
  if (problem === undefined || stack.remembered === undefined) return stack;
  const original = await findOriginal(stack);
  if (problem === "copied" && (await isCopyOfRunningServer(stack))) await options?.confirm(unstoppedCopy(stack));
  await confirmSharedSecret(stack, original, options);
  const port = await choosePortAgain(stack, original);
  run.reporter.info(`adopting: ${describeProblem(problem, stack, original)}`);
  return { ...stack, isAdopting: true, remembered: { ...stack.remembered, port, cluster: null } };
}

/** How long a server that is starting takes to write its pid file, or one that is stopping to exit after removing it. */
const pidFileDelayMs = 2000;
const pollIntervalMs = 50;

/** A running server opens pg_control by the path that it was started with, and needs its pid file. */
async function checkFolder({ dataDir, mode }: Stack, { signal }: RunContext): Promise<void> {
  if (mode !== "embedded" || (await findPostmaster(dataDir)).state !== "running") return;
  await checkPidFile(dataDir, signal);
  await checkServedFolder(dataDir);
}

/** @throws {ScriptError} `MOVED_WHILE_RUNNING` (exit 8) if the folder of a running server is no longer where it was */
export async function checkServedFolder(dataDir: string): Promise<void> {
  const served = await readServedFolder(dataDir);
  if (served === undefined || existsSync(served)) return;
  throw new ScriptError({
    code: "MOVED_WHILE_RUNNING",
    exitCode: exitCodes.refused,
    message: `${dataDir} was moved while its server was running`,
    why: `The server still looks for its files in ${served}.`,
    fix: `Run ${runLine("stop")} && ${runLine("bootstrap")}, which recovers what the server could not write.`,
  });
}

/** A server that lost its pid file shuts down within a minute, so it must not be reported as ready. */
async function checkPidFile(dataDir: string, signal: AbortSignal): Promise<void> {
  const probe = async () => {
    const found = await findPostmaster(dataDir);
    return found.state === "running" && found.hasLostPidFile ? undefined : found;
  };
  if ((await pollUntil(probe, { timeoutMs: pidFileDelayMs, intervalMs: pollIntervalMs, signal })) !== undefined) return;
  throw new ScriptError({
    code: "PID_FILE_LOST",
    exitCode: exitCodes.refused,
    message: `The server of ${dataDir} is running, but its postmaster.pid was removed or replaced`,
    why: "PostgreSQL notices that within a minute and shuts down.",
    fix: `Run ${runLine("stop")} && ${runLine("bootstrap")}, which loses no data.`,
  });
}

/** A data directory that is copied while its server runs has files of different moments. */
async function isCopyOfRunningServer({ dataDir }: Stack): Promise<boolean> {
  const isRunningHere = (await findPostmaster(dataDir)).state === "running";
  return !isRunningHere && existsSync(join(dataDir, "postmaster.pid"));
}

function unstoppedCopy({ dataDir }: Stack): Confirmation {
  return {
    plan:
      `starts ${dataDir}, which was copied while its server was running, or had crashed: events may be missing or ` +
      `damaged. It is safe to copy it again after ${runLine("stop")}, or to restore a backup`,
    question: "Adopt it?",
    refusal: "Nothing was adopted",
    data: { dataDirectory: dataDir },
  };
}

/** The applications of the original read the same secret in Vault, and would follow it to this stack's server. */
async function confirmSharedSecret(stack: Stack, original: string | undefined, options?: AdoptOptions): Promise<void> {
  if (original === undefined || stack.secretsPlace !== "vault") return;
  const { location } = await stack.secrets.status();
  await options?.confirm({
    plan: `changes the credentials in Vault (${location}), which ${original} uses too, to the server of this stack`,
    question: "Change them?",
    refusal: "Nothing was adopted",
    data: { original, location },
  });
}

/** A stack keeps its port, unless that belongs to the original. */
async function choosePortAgain({ remembered, stackDir }: Stack, original: string | undefined): Promise<number> {
  const port = remembered?.port;
  const mustChange = port === undefined || original !== undefined || !(await isPortFree(port));
  return mustChange ? choosePort(stackDir) : port;
}
