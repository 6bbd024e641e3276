import process from "node:process";
import { exitCodes, ScriptError } from "./script-error.ts";

/** The signals caught during one run. Disposing of it restores their default effect. */
export interface CaughtSignals extends Disposable {
  readonly signal: AbortSignal;
  /** The error to report if a signal was received. */
  readonly caught: ScriptError | undefined;
}

const codes = { SIGINT: exitCodes.sigint, SIGTERM: exitCodes.sigterm } as const;

/** Turns the first SIGINT or SIGTERM into an abort, so that the run can clean up. The second one kills the process. */
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
    [Symbol.dispose]: stopListening,
  };
}

function interrupted(name: keyof typeof codes): ScriptError {
  return new ScriptError({
    code: "INTERRUPTED",
    exitCode: codes[name],
    message: `Stopped by ${name}`,
    why: "Finished steps are kept. The interrupted one was rolled back, or the next run completes it.",
    fix: "Run the same command again to continue.",
  });
}
