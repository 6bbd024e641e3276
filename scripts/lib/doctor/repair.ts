import type { Confirmation } from "../cli/confirm.ts";
import type { RunContext } from "../stack/stack.ts";
import type { Diagnosis } from "./doctor.ts";
import type { FinishedRepair, Repair } from "./finding.ts";
import { reportOf } from "./report.ts";

/** How to repair. */
export interface RepairOptions {
  /** @throws {ScriptError} `REFUSED` (exit 8) if the answer is no */
  readonly confirm: (confirmation: Confirmation) => Promise<void>;
}

/** Runs the safe repairs of a diagnosis one by one, after asking once. A repair that fails does not stop the others. */
export async function repairAll(
  diagnosis: Diagnosis,
  run: RunContext,
  { confirm }: RepairOptions,
): Promise<FinishedRepair[]> {
  const repairs = new Map(
    diagnosis.findings.flatMap(({ repair }) => (repair === undefined ? [] : [[repair.description, repair]])),
  );
  if (repairs.size === 0) return [];
  await confirm({
    plan: [...repairs.keys()].map((description) => `- ${description}`).join("\n"),
    question: "Do this?",
    refusal: "Nothing was repaired",
    data: reportOf(diagnosis),
  });
  const finished: FinishedRepair[] = [];
  for (const repair of repairs.values()) finished.push(await runRepair(repair, run));
  return finished;
}

async function runRepair(
  { description, run: work }: Repair,
  { reporter, signal }: RunContext,
): Promise<FinishedRepair> {
  signal.throwIfAborted();
  try {
    await work();
    reporter.info(`repaired: ${description}`);
    return { description, error: null };
  } catch (error) {
    signal.throwIfAborted();
    const { message } = error as Error;
    reporter.warn(`failed: ${description}: ${message}`);
    return { description, error: message };
  }
}
