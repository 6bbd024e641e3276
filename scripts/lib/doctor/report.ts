import type { Diagnosis, Unchecked } from "./doctor.ts";
import type { Finding, FinishedRepair } from "./finding.ts";

/** A finding, as programs read it. */
export interface FoundCause extends Omit<Finding, "repair"> {
  /** What `--fix` does about it; null if nothing. */
  readonly repair: string | null;
}

/** The result of `doctor`. */
export interface DoctorReport {
  /** Whether nothing was found. */
  readonly ok: boolean;
  readonly findings: readonly FoundCause[];
  readonly notChecked: readonly Unchecked[];
  /** What `--fix` did before the findings were made. */
  readonly repairs: readonly FinishedRepair[];
}

export function reportOf({ findings, notChecked }: Diagnosis, repairs: readonly FinishedRepair[] = []): DoctorReport {
  const found = findings.map(({ repair, ...finding }) => ({ ...finding, repair: repair?.description ?? null }));
  return { ok: findings.length === 0, findings: found, notChecked, repairs };
}
