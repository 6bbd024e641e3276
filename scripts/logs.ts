// Shows the log of the server, of a container or of the local Vault.
// Reads: the log files of the stack directory, or the logs of the containers. Writes: nothing.
// Exits: 0 · 2 usage, configuration, or a log that is elsewhere · 3 no log yet · 8 containers of another folder ·
// 9 Docker, or a file that cannot be read · 130, 143 stopped

import { usageError } from "./lib/cli/errors.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: { name: "logs", description: "Shows the log of the server, of a container or of the local Vault." },
  args: {
    service: {
      type: "positional",
      description: "postgres or vault; of the containers also init or keys (default: the server, or all containers)",
    },
    lines: { type: "number", min: 0, default: "100", description: "How many of the last lines to show" },
    follow: { type: "boolean", description: "Then show new lines until Ctrl-C" },
    mode: stackFlags.mode,
  },
  examples: [
    [runLine("logs"), "Show the last 100 lines"],
    [runLine("logs --follow --lines 0"), "Show only what comes next"],
    [runLine("logs vault"), "Show the log of the local Vault"],
  ],
  check({ follow, json }) {
    if (follow && json) throw usageError("--follow and --json cannot be combined", "Leave out one of them.");
  },
  isLocal: true,
  endsBySignal: ({ follow }) => follow,
  async run({ args, stack, signal, write }): Promise<{ readonly lines: readonly string[] }> {
    const { showLogs } = await import("./lib/logs/logs.ts");
    const parts: string[] = [];
    const keep = async (text: string) => parts.push(text) > 0;
    await showLogs(stack, args, { signal, write: args.json ? keep : write });
    return { lines: parts.join("").split("\n").slice(0, -1) };
  },
  print() {
    // Printed while it was read.
  },
});

if (import.meta.main) await runAsProcess(command);
