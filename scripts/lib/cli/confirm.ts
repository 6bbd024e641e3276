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
  /** What a refusal reports: `Nothing was deleted`. */
  readonly refusal: string;
  /** The command that does not ask. */
  readonly command: string;
  /** Reported by `--json` together with a refusal. */
  readonly data: unknown;
}

/** Whom to ask. */
export interface ConfirmOptions {
  /** `--yes` was given. */
  readonly isConfirmed: boolean;
  readonly canAsk: boolean;
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

/** Someone was asked and said no: that is an answer, not an error. */
export class Declined extends ScriptError {}

/**
 * Shows a plan, and asks unless `--yes` was given.
 *
 * @throws {ScriptError} `REFUSED` (exit 8) if the answer is no, or nobody can be asked
 */
export async function confirmOrRefuse(confirmation: Confirmation, options: ConfirmOptions): Promise<void> {
  const { plan, question, refusal, command, data } = confirmation;
  const { isConfirmed, canAsk, reporter, signal } = options;
  const refused = { code: "REFUSED", exitCode: exitCodes.refused, message: refusal, data };
  if (!isConfirmed && !canAsk) throw new ScriptError({ ...refused, why: plan, fix: `Run ${command}` });
  if (isConfirmed) reporter.info(plan);
  else if (!(await ask(`${plan}\n${question}`, signal))) throw new Declined(refused);
}

/** The terminal edits the line, not readline: so Ctrl-C is a signal, and the width of the terminal does not matter. */
async function ask(question: string, signal: AbortSignal): Promise<boolean> {
  const prompt = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    const ended = new Promise<string>((resolve) => prompt.once("close", () => resolve("")));
    const answer = await Promise.race([prompt.question(`${question} [y/N] `, { signal }), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    prompt.close();
  }
}
