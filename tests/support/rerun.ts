import type { FileResult, TestFile } from "./test-file.ts";

/** More failures than this are not bad luck. */
const maxFiles = 3;

/** The results of a run, after its failed files ran again. */
export interface RerunResults {
  /** The results that count: a file that passed when it ran again counts as passed. */
  readonly results: readonly FileResult[];
  /** The failures of the files that passed when they ran again. */
  readonly unstable: readonly FileResult[];
}

/**
 * Runs each file that failed once more, one after the other, unless too many failed.
 *
 * @param run runs a file while no other runs
 */
export async function rerunFailures(
  results: readonly FileResult[],
  run: (test: TestFile) => Promise<FileResult | undefined>,
): Promise<RerunResults> {
  const failures = results.filter(({ failed }) => failed > 0);
  if (failures.length > maxFiles) return { results, unstable: [] };
  const passed = new Map<FileResult, FileResult>();
  for (const failure of failures) {
    const again = await run({ runtime: failure.runtime, file: failure.file });
    if (again?.failed === 0) passed.set(failure, again);
  }
  return { results: results.map((result) => passed.get(result) ?? result), unstable: [...passed.keys()] };
}

/** @returns the line that names a file that failed and then passed */
export function describeUnstable({ file, runtime, failures, problem }: FileResult): string {
  const names = failures.length > 0 ? failures.join("; ") : problem;
  return `unstable: ${file} on ${runtime} failed once and passed when it ran again, alone: ${names}`;
}
