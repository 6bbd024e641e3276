import process from "node:process";
import { exitCodes, ScriptError } from "./script-error.ts";

/** The signals of one run; disposing of it gives them back their usual meaning. */
export interface CaughtSignals extends Disposable {
  readonly signal: AbortSignal;
  /** The error to report when a signal has come. */
  readonly caught: ScriptError | undefined;
  /** @throws {ScriptError} when a signal has come: the run did not end by itself */
  throwIfCaught(): void;
}

const codes = { SIGINT: exitCodes.sigint, SIGTERM: exitCodes.sigterm } as const;

/**
 * Turns the first SIGINT or SIGTERM into an abort, so that the run can clean up; the second one ends the process at
 * once, as if nobody listened.
 */
export function catchSignals(): CaughtSignals {
  const controller = new AbortController();
  let caught: ScriptError | undefined;
  const listen = (name: keyof typeof codes) => {
    stopListening();
    caught = interrupted(name);
    controller.abort(caught);
  };
  const onInterrupt = () => listen("SIGINT");
  const onTerminate = () => listen("SIGTERM");
  const stopListening = () => {
    process.removeListener("SIGINT", onInterrupt);
    process.removeListener("SIGTERM", onTerminate);
  };
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onTerminate);
  return {
    signal: controller.signal,
    get caught() {
      return caught;
    },
    throwIfCaught() {
      if (caught !== undefined) throw caught;
    },
    [Symbol.dispose]: stopListening,
  };
}

function interrupted(name: keyof typeof codes): ScriptError {
  return new ScriptError({
    code: "INTERRUPTED",
    exitCode: codes[name],
    message: `Stopped by ${name}`,
    why: "Nothing is half done: what was finished stays, the rest was undone or will be completed.",
    fix: "Run the same command again to go on.",
  });
}
