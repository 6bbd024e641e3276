import { spawn } from "node:child_process";
import process from "node:process";
import { packageDir } from "../../scripts/lib/config.ts";

/** One of the things that a benchmark compares. */
export interface Variant {
  readonly name: string;
  /** @returns the measure of one run, in milliseconds */
  measure(): Promise<number>;
}

/**
 * Measures variants in turn, round by round, after one round that does not count; prints minimum, median and maximum.
 *
 * @param rounds how often each variant is measured
 */
export async function runBenchmark(variants: readonly Variant[], rounds: number): Promise<void> {
  const measures = new Map<Variant, number[]>(variants.map((variant) => [variant, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const variant of variants) {
      const milliseconds = await variant.measure();
      if (round > 0) measures.get(variant)?.push(milliseconds);
    }
  }
  const width = Math.max(...variants.map(({ name }) => name.length));
  console.log(`${"".padEnd(width)}      min   median      max  (ms, ${rounds} rounds)`);
  for (const [{ name }, values] of measures) {
    const sorted = values.toSorted((one, other) => one - other);
    const figures = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)];
    console.log(`${name.padEnd(width)} ${figures.map((figure) => (figure ?? 0).toFixed(0).padStart(8)).join(" ")}`);
  }
}

/**
 * Times a command as a whole process.
 *
 * @returns milliseconds from the start to the end
 * @throws {Error} when it does not exit with 0
 */
export async function timeProcess(command: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
  const [program, ...args] = command;
  const startedAt = performance.now();
  const child = spawn(program as string, args, {
    cwd: packageDir,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    stdio: "ignore",
  });
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} exited with ${exitCode}`);
  return performance.now() - startedAt;
}
