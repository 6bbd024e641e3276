import { exitCodes, ScriptError } from "./script-error.ts";

/** @returns the error of a command line that cannot be understood (exit 2); the runner adds where to find the help */
export function usageError(message: string, fix?: string): ScriptError {
  return new ScriptError({ code: "USAGE", exitCode: exitCodes.usage, message, fix });
}

/** @returns the error of a wait that exceeded its time limit (exit 124) */
export function timedOut(message: string, timeoutMs: number): ScriptError {
  return new ScriptError({
    code: "TIMEOUT",
    exitCode: exitCodes.timeout,
    message,
    why: `The time limit of ${timeoutMs} ms was reached.`,
    fix: "Run this again. On a slow machine, set a longer --timeout (CQRS_TIMEOUT).",
  });
}

/** @returns the error of a lock held by another script or session (exit 5) */
export function locked(message: string, why: string, fix?: string): ScriptError {
  return new ScriptError({
    code: "LOCKED",
    exitCode: exitCodes.locked,
    message,
    why,
    fix: fix ?? "Wait for it to finish or stop it, then run this again.",
  });
}

/** @returns the error of a port of 127.0.0.1 that another program listens on (exit 9) */
export function portTaken({ port, holder, why, move }: TakenPort): ScriptError {
  return new ScriptError({
    code: "PORT_TAKEN",
    exitCode: exitCodes.prerequisite,
    message: `Port ${port} of 127.0.0.1 is in use by ${holder}`,
    why,
    fix: `Stop that program (find it with: lsof -i :${port}), or ${move}.`,
  });
}

/** A port that cannot be used. */
export interface TakenPort {
  readonly port: number;
  /** `another program`, `the container x` */
  readonly holder: string;
  readonly why: string;
  /** How to use another port, as the end of a sentence. */
  readonly move: string;
}
