/** What people notice. */
export const symptoms = ["does-not-start", "cannot-connect", "data-at-risk", "schema", "readers", "secrets"] as const;

export type Symptom = (typeof symptoms)[number];

/** A fix that loses nothing and that `doctor --fix` may run. */
export interface Repair {
  /** What it does: `deletes the stale pid file`. Findings with the same description share one repair. */
  readonly description: string;
  run(): Promise<void>;
}

/** A repair that was tried. */
export interface FinishedRepair {
  readonly description: string;
  /** Why it failed; null if it succeeded. */
  readonly error: string | null;
}

/** A cause that was found. */
export interface Finding {
  /** A stable name for programs: `port-taken`. */
  readonly id: string;
  readonly symptom: Symptom;
  /** What is wrong, in one sentence. */
  readonly cause: string;
  /** What was looked at, and what was there. */
  readonly evidence: string;
  /** An instruction, with the command. */
  readonly fix: string;
  readonly repair?: Repair;
}

/** Thrown by a probe that cannot look, with the reason. */
export class NotChecked extends Error {
  override readonly name = "NotChecked";
}
