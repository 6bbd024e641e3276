import { spawnSync } from "node:child_process";
import process from "node:process";

/** What a command cost as a whole process, with its children. */
export interface ProcessCost {
  readonly seconds: number;
  /** Processor time, without that of the server. */
  readonly cpuSeconds: number;
  readonly peakMegabytes: number;
}

/** GNU time, because nothing else reports the processor time and peak memory of a process that has exited. */
const time = "/usr/bin/time";

/**
 * Runs a command.
 *
 * @param isDone whether it has succeeded, from its exit code and what it wrote to stderr
 * @throws {Error} if it has not
 */
export function measureProcess(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  isDone: (exitCode: number | null, stderr: string) => boolean = (exitCode) => exitCode === 0,
): ProcessCost {
  const startedAt = performance.now();
  const { status, stderr } = spawnSync(time, ["-f", "%U %S %M", ...command], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
  });
  const seconds = (performance.now() - startedAt) / 1000;
  if (!isDone(status, stderr)) throw new Error(`${command.join(" ")} exited with ${status}\n${stderr}`);
  const [user = 0, system = 0, peakKilobytes = 0] = (stderr.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  return { seconds, cpuSeconds: user + system, peakMegabytes: peakKilobytes / 1024 };
}
