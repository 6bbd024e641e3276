import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isConflict, isFromServer, messageWithCode } from "../postgres/failure.ts";

/** `skipped`: not checked, and why. */
export type CheckResult = "ok" | "failed" | "skipped";

/** What a check found. */
export interface Finding {
  readonly result: CheckResult;
  /** What was looked at, in one line. */
  readonly evidence: string;
  /** Why it failed; null unless it did. */
  readonly why: string | null;
  /** The command that fixes it, or what to do; null unless it failed. */
  readonly fix: string | null;
}

/** A finding, with its check. */
export interface CheckedItem extends Finding {
  /** Its place in the list, the same in every mode. */
  readonly number: number;
  /** A stable name for programs. */
  readonly id: string;
  readonly title: string;
}

export function ok(evidence: string): Finding {
  return { result: "ok", evidence, why: null, fix: null };
}

export function failed(evidence: string, why: string, fix: string): Finding {
  return { result: "failed", evidence, why, fix };
}

/** @param evidence why it was not checked */
export function skipped(evidence: string): Finding {
  return { result: "skipped", evidence: `not checked: ${evidence}`, why: null, fix: null };
}

/** No check waits for long. */
export const lockedElsewhere: Finding = skipped("another session has locked what it needs");

/** @returns the finding of an expected error; any other error is thrown again */
export function failedWith(error: unknown, fix: string): Finding {
  const isLocked = error instanceof ScriptError ? error.exitCode === exitCodes.locked : isConflict(error);
  if (isLocked) return lockedElsewhere;
  if (error instanceof ScriptError) return failed(error.message, error.why ?? error.message, error.fix ?? fix);
  if (!isFromServer(error)) throw error;
  return failed("PostgreSQL refused a query of this check", messageWithCode(error as Error), fix);
}

/** @returns the finding of a check on a list of problems, one phrase each */
export function noProblems(problems: readonly string[], evidence: string, fix: string): Finding {
  return problems.length === 0 ? ok(evidence) : failed(evidence, problems.join("\n"), fix);
}

/** Something wrong that has a fix of its own. */
export interface Problem {
  readonly text: string;
  readonly fix: string;
}

/** @returns the finding of a check on a list of problems with different fixes */
export function noneOf(problems: readonly Problem[], evidence: string): Finding {
  const fixes = new Set(problems.map(({ fix }) => fix));
  const texts = problems.map(({ text }) => text);
  return noProblems(texts, evidence, [...fixes].join(" "));
}

/** @returns a function that does the work once, and returns the same result to every caller */
export function once<Result>(work: () => Promise<Result>): () => Promise<Result> {
  let result: Promise<Result> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}
