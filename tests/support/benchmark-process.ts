import { spawn } from "node:child_process";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { type Measured, median } from "./benchmark.ts";

/**
 * Times a command as a whole process.
 *
 * @returns milliseconds from start to exit
 * @throws {Error} if it does not exit with 0
 */
export async function timeProcess(command: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
  const [program, ...args] = command;
  const startedAt = performance.now();
  const child = spawn(program as string, args, {
    cwd: assetsDir,
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

/** Prints minimum, median and maximum of each variant's milliseconds. */
export function reportTimes(measured: readonly Measured<number>[]): void {
  const width = Math.max(...measured.map(({ name }) => name.length));
  const rounds = measured[0]?.measures.length ?? 0;
  console.log(`${"".padEnd(width)}      min   median      max  (ms, ${rounds} rounds)`);
  for (const { name, measures } of measured) {
    const figures = [Math.min(...measures), median(measures), Math.max(...measures)];
    console.log(`${name.padEnd(width)} ${figures.map((figure) => figure.toFixed(0).padStart(8)).join(" ")}`);
  }
}
