import { spawn } from "node:child_process";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";

/**
 * Polls the command lines of all processes of this machine.
 *
 * @param hasEnvironments polls the environments too, if the kernel shows them
 */
export function watchProcesses(hasEnvironments = false): AsyncDisposable & { text(): string } {
  let seen = "";
  const files = hasEnvironments ? "/proc/[0-9]*/cmdline /proc/[0-9]*/environ" : "/proc/[0-9]*/cmdline";
  const loop = process.platform === "linux" ? `cat ${files} 2>/dev/null` : "ps -ww -A -o command=";
  const watcher = spawn("sh", ["-c", `while :; do ${loop}; sleep ${hasEnvironments ? 0.1 : 0.01}; done`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  watcher.stdout.on("data", (bytes: Buffer) => {
    seen += bytes.toString("latin1");
  });
  return {
    text: () => seen,
    async [Symbol.asyncDispose]() {
      watcher.kill("SIGKILL");
      await new Promise((resolve) => watcher.once("close", resolve));
    },
  };
}

/** Reads every file below a folder, except those where secrets belong. */
export async function readFiles(folder: string, except: readonly string[]): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const name of await readdir(folder, { recursive: true })) {
    const file = join(folder, name);
    const isExcepted = except.some((start) => name === start || name.startsWith(`${start}/`));
    const isFile = !isExcepted && (await stat(file).catch(() => undefined))?.isFile() === true;
    if (isFile) files.set(file, (await readFile(file).catch(() => Buffer.alloc(0))).toString("latin1"));
  }
  return files;
}
