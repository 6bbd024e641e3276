// Stops the embedded server and the local Vault, or the containers; with --test, the server of tests.
// Reads: configuration, the stack directory. Writes: only what the server flushes.
// Exits: 0 stopped, or nothing was running · 2 configuration · 5 locked · 8 external server · 124 timeout

import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: {
    name: "stop",
    description: "Stops the embedded server and the local Vault, or the containers. Their data is kept.",
  },
  args: {
    mode: stackFlags.mode,
    timeout: stackFlags.timeout,
    test: { type: "boolean", description: "Stop the server of createTestStore() instead" },
  },
  examples: [
    [runLine("stop"), "Stop what bootstrap started"],
    [runLine("stop --test"), "Stop the server that tests started"],
  ],
  isLocal: true,
  async run({ args, stack, ...run }) {
    const { stopStack, stopTestStack } = await import("./lib/operations/stop.ts");
    return args.test === true ? stopTestStack(stack, run) : stopStack(stack, run);
  },
  print({ pid, vaultPid, containers }, output) {
    for (const name of containers) output.result(`stopped ${name}`);
    if (pid !== null) output.result(`stopped PostgreSQL (pid ${pid})`);
    if (vaultPid !== null) output.result(`stopped Vault (pid ${vaultPid})`);
    if (pid === null && vaultPid === null && containers.length === 0) output.result("nothing was running");
  },
});

if (import.meta.main) await runAsProcess(command);
