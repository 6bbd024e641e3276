import { spawn } from "node:child_process";
import { constants } from "node:os";
import process from "node:process";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode } from "../postgres/failure.ts";
import { type Environment, environment, terminal } from "../runtime.ts";

const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;

/**
 * Runs a command in place of this process, as far as possible: the command inherits our standard streams and
 * environment, and receives our signals.
 *
 * @param env its whole environment
 * @returns its exit code, or 128 + n if signal n killed it
 * @throws {ScriptError} `COMMAND` (exit 9) if it cannot be started
 */
export async function runCommand(
  [program = "", ...args]: readonly string[],
  env: Environment = environment(),
): Promise<number> {
  const { isStdinTerminal } = terminal();
  let pid: number | undefined;
  // Registered before the command starts, so that not even a signal sent right after its start is lost.
  const listeners = forwarded.map((name) => {
    // On Ctrl-C, the terminal also signals the command; forwarding the signal would count as a second Ctrl-C.
    const isSentTwice = name === "SIGINT" && isStdinTerminal;
    const forward = () => void (!isSentTwice && pid !== undefined && process.kill(pid, name));
    process.on(name, forward);
    return () => process.removeListener(name, forward);
  });
  try {
    const child = spawn(program, args, { stdio: "inherit", env });
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
    message: `Cannot run ${program}`,
    why: code === "ENOENT" ? "The program was not found." : "This user is not allowed to run it.",
    fix: "Correct the command after --.",
  });
}
