// Waits until targets are usable, then runs a command if one is given.
// Reads: the targets; for postgres, schema and vault also configuration and the stack directory. Writes: nothing.
// Exits: 0 usable, or the command's own · 2 usage, TLS · 3 missing · 4 schema drift · 6 login refused ·
// 9 no such command · 124 timeout

import { defineScript } from "./lib/cli/define-script.ts";
import { usageError } from "./lib/cli/errors.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import type { WaitReport } from "./lib/wait/wait.ts";

interface Waited {
  readonly targets: readonly WaitReport[];
  readonly command: readonly string[];
}

export const command = defineScript({
  meta: { name: "wait-for", description: "Waits until targets are usable, then runs a command if one is given." },
  args: {
    target: {
      type: "positional",
      valueHint: "target…",
      description:
        "postgres, schema, vault, or a URL: postgres:// vault:// vault+https:// tcp:// http:// https:// file:",
    },
    command: { type: "positional", valueHint: "-- command…", description: "Command to run once the wait is over" },
    timeout: { type: "duration", default: "60s", description: "How long to wait" },
    any: { type: "boolean", description: "Stop waiting once one target is usable" },
    invert: { type: "boolean", description: "Wait until the targets are not usable" },
    query: {
      type: "string",
      valueHint: "sql",
      description: "Query to run: a database is usable if the first value is neither false nor null",
    },
  },
  examples: [
    [runLine("wait-for postgres"), "Wait until the stack's database accepts the application"],
    [runLine("wait-for schema --timeout 2m -- npm start"), "Start a service once the schema is applied"],
    [runLine("wait-for tcp://127.0.0.1:8080 --invert"), "Wait until a port is closed"],
  ],
  async run({ args, operands, commandWords, reporter, signal }): Promise<Waited> {
    const { findTarget } = await import("./lib/stack/wait-target.ts");
    const { waitForTargets } = await import("./lib/wait/wait.ts");
    if (operands.length === 0) throw usageError("wait-for needs a target", "Pass one or more targets.");
    const targets = await Promise.all(operands.map((word) => findTarget(word, args)));
    const reports = await waitForTargets(targets, {
      timeoutMs: args.timeout,
      invert: args.invert,
      any: args.any,
      signal,
      onReason: (target, reason) => reporter.info(`waiting for ${target}: ${reason}`),
    });
    return { targets: reports, command: commandWords };
  },
  print({ targets, command }, output) {
    // The command owns stdout.
    if (command.length > 0) return;
    for (const { target, waitedMs } of targets) output.result(`ready  ${target}  ${waitedMs} ms`);
  },
  async follow({ command }) {
    if (command.length === 0) return 0;
    return (await import("./lib/wait/command.ts")).runCommand(command);
  },
});

if (import.meta.main) await runAsProcess(command);
