// Waits until things are usable, and then may run a command.
// Reads: the targets; for postgres, schema and vault the configuration and the stack directory. Writes: nothing.
// Exits: 0 usable, or the command's own · 2 usage, TLS · 3 missing · 4 schema drift · 6 login refused · 9 no such command · 124 timeout
import { defineScript } from "./lib/cli/define-script.ts";
import { usageError } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import type { WaitReport } from "./lib/wait/wait.ts";

interface Waited {
  readonly targets: readonly WaitReport[];
  readonly command: readonly string[];
}

export const command = defineScript({
  meta: { name: "wait-for", description: "Wait until things are usable; then run a command, if one is given" },
  args: {
    target: {
      type: "positional",
      required: false,
      valueHint: "target…",
      description: "postgres schema vault, postgres:// vault:// vault+https:// tcp:// http:// https:// or file:",
    },
    command: { type: "positional", required: false, valueHint: "-- command…", description: "Run when all is usable" },
    timeout: { type: "string", valueHint: "duration", default: "60s", description: "How long to wait at most" },
    any: { type: "boolean", description: "One of the targets is enough" },
    invert: { type: "boolean", description: "Wait until the targets are not usable" },
    query: { type: "string", valueHint: "sql", description: "Ask databases this; not false or null is usable" },
  },
  async run({ args, operands, commandWords, reporter, signal }): Promise<Waited> {
    const { notADuration, parseDuration } = await import("./lib/duration.ts");
    const { findTarget } = await import("./lib/stack/wait-target.ts");
    const { waitForTargets } = await import("./lib/wait/wait.ts");
    const timeoutMs = parseDuration(args.timeout);
    if (timeoutMs === undefined) throw usageError(`--timeout ${notADuration}`, undefined);
    if (operands.length === 0) throw usageError("There is nothing to wait for", "Name a target. See --help.");
    const targets = await Promise.all(operands.map((word) => findTarget(word, args.query)));
    const reports = await waitForTargets(targets, {
      timeoutMs,
      invert: args.invert === true,
      any: args.any === true,
      signal,
      onReason: (target, reason) => reporter.info(`waiting for ${target}: ${reason}`),
    });
    return { targets: reports, command: commandWords };
  },
  print({ targets, command }, output) {
    // What follows owns stdout.
    if (command.length > 0) return;
    for (const { target, waitedMs } of targets) output.result(`ready  ${target}  ${waitedMs} ms`);
  },
  async follow({ command }) {
    if (command.length === 0) return 0;
    return (await import("./lib/wait/command.ts")).runCommand(command);
  },
});

if (import.meta.main) await runAsProcess(command);
