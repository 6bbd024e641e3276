import { spawn } from "node:child_process";
import { constants } from "node:os";
import process from "node:process";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode } from "../postgres/failure.ts";
import { environment, terminal } from "../runtime.ts";

const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;

/**
 * Runs a command in place of this process, as far as that can be done: it has our standard streams and our environment,
 * gets our signals, and its exit code is the result (128 + n when signal n ended it).
 *
 * @throws {ScriptError} `COMMAND` (exit 9) when it can't be started
 */
export async function runCommand([program = "", ...args]: readonly string[]): Promise<number> {
  const { isStdinTerminal } = terminal();
  let pid: number | undefined;
  // Before the command is there: one that is sent a signal as soon as it can be seen gets it.
  const listeners = forwarded.map((name) => {
    // What a terminal sends on Ctrl-C the command gets from it too; twice would be a second Ctrl-C.
    const isSentTwice = name === "SIGINT" && isStdinTerminal;
    const forward = () => void (!isSentTwice && pid !== undefined && process.kill(pid, name));
    process.on(name, forward);
    return () => process.removeListener(name, forward);
  });
  try {
    const child = spawn(program, args, { stdio: "inherit", env: environment() });
    pid = child.pid;
    return await new Promise<number>((resolve, reject) => {
      child.once("error", (error) => reject(explainSpawnError(error, program)));
      child.once("exit", (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? "SIGKILL"]));
    });
  } finally {
    for (const stopListening of listeners) stopListening();
  }
}

function explainSpawnError(error: unknown, program: string): unknown {
  const code = errorCode(error);
  if (code !== "ENOENT" && code !== "EACCES") return error;
  return new ScriptError({
    code: "COMMAND",
    exitCode: exitCodes.prerequisite,
    message: `Can't run ${program}`,
    why: code === "ENOENT" ? "There is no such program." : "This user may not run it.",
    fix: "Correct the words after --.",
  });
}
