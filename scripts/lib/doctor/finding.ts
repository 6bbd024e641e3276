/** What people notice. */
export const symptoms = ["does-not-start", "cannot-connect", "data-at-risk", "schema", "readers", "secrets"] as const;

export type Symptom = (typeof symptoms)[number];

/** A fix that loses nothing and that `doctor --fix` may run. */
export interface Repair {
  /** What it does: `deletes the stale pid file`. Findings with the same description share one repair. */
  readonly description: string;
  /** Whether it changes the server or the stack, and so must not run if that may be another one than the stack's. */
  readonly changesStack?: true;
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

/** Causes that people have to settle before the stack or its server is changed. */
const unsettled = ["env-conflicts", "other-server", "administrator-refused"];

/**
 * Takes the repairs that change the stack from the findings if it is unclear which stack that is, or if they would
 * restart its server.
 */
export function withSafeRepairs(findings: readonly Finding[]): readonly Finding[] {
  if (!findings.some(({ id }) => unsettled.includes(id))) return findings;
  return findings.map(({ repair, ...finding }) =>
    repair === undefined || repair.changesStack ? finding : { ...finding, repair },
  );
}

/** Thrown by a probe that cannot look, with the reason. */
export class NotChecked extends Error {
  override readonly name = "NotChecked";
}
