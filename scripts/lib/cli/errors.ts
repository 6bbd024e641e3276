import { exitCodes, ScriptError } from "./script-error.ts";

/** @returns the error of a wait that took too long (exit 124) */
export function timedOut(message: string, timeoutMs: number): ScriptError {
  return new ScriptError({
    code: "TIMEOUT",
    exitCode: exitCodes.timeout,
    message,
    why: `The time limit of ${timeoutMs} ms was reached.`,
    fix: "Run this again; on a slow machine with a longer --timeout (CQRS_TIMEOUT).",
  });
}

/** @returns the error of a lock that another script or session holds (exit 5) */
export function locked(message: string, why: string, fix?: string): ScriptError {
  return new ScriptError({
    code: "LOCKED",
    exitCode: exitCodes.locked,
    message,
    why,
    fix: fix ?? "Wait for it to finish or stop it, then run this again.",
  });
}

/**
 * @param what what the port is for: `The port of a stack`
 * @param move how to use another port
 * @returns the error of a port of 127.0.0.1 that another program listens on (exit 9)
 */
export function portTaken({ port, holder, why, move }: TakenPort): ScriptError {
  return new ScriptError({
    code: "PORT_TAKEN",
    exitCode: exitCodes.prerequisite,
    message: `Port ${port} of 127.0.0.1 is in use by ${holder}`,
    why,
    fix: `Stop that program (find it with: lsof -i :${port}), or ${move}`,
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
