import { existsSync } from "node:fs";
import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import { errorCode } from "../../postgres/failure.ts";
import type { Stack } from "../../stack/stack.ts";
import { bootstrapRepair, type DoctorContext, type Probe } from "../context.ts";
import type { Finding } from "../finding.ts";
import { canReplaceState, stateRepair } from "../state-repair.ts";
import { findClusterProblems } from "./cluster.ts";
import { findIncompleteData, findWrongAccess, unreadableData } from "./data-directory.ts";
import { findPidFileProblems } from "./pid-file.ts";

/** The state file and the data directory of an embedded server. */
export const filesProbe: Probe = { area: "files", find: findFileProblems };

async function findFileProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const stack = await context.stack().catch((error: unknown) => {
    if (["STATE", "FOLDER_UNUSABLE"].includes(errorCode(error))) return error as ScriptError;
    throw error;
  });
  if (stack instanceof ScriptError)
    return [stack.code === "STATE" ? await unreadableState(context, stack) : unusableState(stack)];
  const missing = findMissing(context, stack);
  if (missing.length > 0 || stack.mode !== "embedded") return missing;
  const access: Finding[] = [];
  try {
    access.push(...(await findWrongAccess(stack)));
    return [...access, ...(await findDataProblems(context, stack))];
  } catch (error) {
    if (errorCode(error) !== "EACCES") throw error;
    return access.length > 0 ? access : [unreadableData(stack, error as Error)];
  }
}

async function findDataProblems(context: DoctorContext, stack: Stack): Promise<Finding[]> {
  const incomplete = await findIncompleteData(stack);
  if (incomplete.length > 0) return incomplete;
  const cluster = await findClusterProblems(stack);
  return cluster.length > 0 ? cluster : await findPidFileProblems(context, stack);
}

async function unreadableState(context: DoctorContext, { message, why, fix }: ScriptError): Promise<Finding> {
  const finding: Finding = {
    id: "state-unreadable",
    symptom: "does-not-start",
    cause: `${message}.`,
    evidence: why ?? message,
    fix: fix ?? `Run ${runLine("bootstrap")}.`,
  };
  return (await canReplaceState(context.config)) ? { ...finding, repair: stateRepair(context) } : finding;
}

function unusableState({ message, why = message, fix = "" }: ScriptError): Finding {
  return { id: "state-unusable", symptom: "does-not-start", cause: `${message}.`, evidence: why, fix };
}

function findMissing(context: DoctorContext, { mode, remembered, dataDir }: Stack): Finding[] {
  if (mode === "external" || remembered !== undefined || existsSync(dataDir)) return [];
  return [
    {
      id: "not-set-up",
      symptom: "does-not-start",
      cause: "No stack has been set up here.",
      evidence: `There is neither ${dataDir} nor state.json in ${context.config.stackDir}.`,
      fix: `Run ${runLine("bootstrap")}, or name the project with --project.`,
      repair: bootstrapRepair(context),
    },
  ];
}
