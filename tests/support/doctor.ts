import assert from "node:assert/strict";
import type { Config } from "../../scripts/lib/config.ts";
import { type Diagnosis, type DoctorOptions, diagnose } from "../../scripts/lib/doctor/doctor.ts";
import type { Finding } from "../../scripts/lib/doctor/finding.ts";
import { repairAll } from "../../scripts/lib/doctor/repair.ts";
import { silentRun, testConfig } from "./stack.ts";

/** A stack, and possibly another database of its server. */
export interface DiagnosedPlace {
  readonly stackDir: string;
  /** Name of the database; that of the stack by default. */
  readonly name?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Reads the configuration in another way. */
  readonly load?: () => Config;
}

/** Diagnoses in this process. */
export function diagnosePlace(place: DiagnosedPlace, options: DoctorOptions = {}): Promise<Diagnosis> {
  const { stackDir, name, env, load = () => testConfig(stackDir, { database: name }, env) } = place;
  return diagnose(load, silentRun, options);
}

/** Asserts that a cause is found, with its evidence and advice; returns it. */
export async function finds(
  id: string,
  expected: { readonly evidence: RegExp; readonly fix: RegExp },
  place: DiagnosedPlace,
  options: DoctorOptions = {},
): Promise<Finding> {
  const diagnosis = await diagnosePlace(place, options);
  const found = diagnosis.findings.find((finding) => finding.id === id);
  assert.ok(found, `${id} is found: ${JSON.stringify(diagnosis)}`);
  assert.match(found.evidence, expected.evidence);
  assert.match(found.fix, expected.fix);
  assert.match(found.cause, /^.{10,}\.$/, "the cause is a sentence");
  return found;
}

/** Runs the repairs of what is found, as `--fix --yes` does. */
export async function repair(place: DiagnosedPlace, options: DoctorOptions = {}): Promise<void> {
  const diagnosis = await diagnosePlace(place, options);
  const repairs = await repairAll(diagnosis, silentRun, { confirm: async () => {} });
  assert.notEqual(repairs.length, 0, `there is a repair: ${JSON.stringify(diagnosis)}`);
  for (const { description, error } of repairs) assert.equal(error, null, description);
}

/** Asserts that nothing is found, or that a cause is no longer found. */
export async function isHealthy(place: DiagnosedPlace, options: DoctorOptions = {}): Promise<void> {
  const { findings } = await diagnosePlace(place, options);
  assert.deepEqual(findings, []);
}
