import process from "node:process";
import { createInterface } from "node:readline/promises";
import type { Reporter } from "./reporter.ts";
import { exitCodes, ScriptError } from "./script-error.ts";

/** A question about something that cannot be undone. */
export interface Confirmation {
  /** What is about to be lost, in a line or two. */
  readonly plan: string;
  /** `Delete it?` */
  readonly question: string;
  /** What the answer must be, such as the name of what is lost; @default y or yes */
  readonly answer?: string;
  /** What a refusal reports: `Nothing was deleted`. */
  readonly refusal: string;
  /** Printed by `--json` together with the refusal. */
  readonly data: unknown;
}

/** Whether and how to ask. */
export interface ConfirmOptions {
  /** `--yes` was given. */
  readonly isConfirmed: boolean;
  /** Whether someone at the terminal can answer. */
  readonly canAsk: boolean;
  /** The command line that was run. With `--yes` it does not ask. */
  readonly commandLine: string;
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

/** The user answered no. It has an exit code like an error, but is not printed as one. */
export class Declined extends ScriptError {}

/**
 * Shows a plan, and asks for confirmation unless `--yes` was given.
 *
 * @throws {ScriptError} `REFUSED` (exit 8) if the answer is no, or there is no terminal to ask on
 */
export async function confirmOrRefuse(confirmation: Confirmation, options: ConfirmOptions): Promise<void> {
  const { plan, question, answer, refusal, data } = confirmation;
  const { isConfirmed, canAsk, commandLine, reporter, signal } = options;
  const refused = { code: "REFUSED", exitCode: exitCodes.refused, message: refusal, data };
  if (!isConfirmed && !canAsk) {
    const why = `There is no terminal to ask on, or --json is set. The plan:\n${plan}`;
    throw new ScriptError({ ...refused, why, fix: `Run ${commandLine} --yes` });
  }
  if (isConfirmed) reporter.info(plan);
  else if (!isConsent(await ask(`${plan}\n${question}${answer === undefined ? " [y/N]" : ""} `, signal), answer))
    throw new Declined(refused);
}

function isConsent(given: string, answer: string | undefined): boolean {
  return answer === undefined ? /^y(es)?$/i.test(given.trim()) : given.trim() === answer.trim();
}

/** Leaves line editing to the terminal, so that Ctrl-C stays a signal and the terminal's width does not matter. */
async function ask(question: string, signal: AbortSignal): Promise<string> {
  const prompt = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    const ended = new Promise<string>((resolve) => prompt.once("close", () => resolve("")));
    return await Promise.race([prompt.question(question, { signal }), ended]);
  } finally {
    prompt.close();
  }
}
