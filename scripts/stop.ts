// Stops the embedded server and the local Vault, or the containers.
// Reads: configuration, the stack directory. Writes: nothing but what the server flushes.
// Exits: 0 stopped, or nothing ran · 2 configuration · 5 locked · 8 external server · 124 timeout
import { defineScript } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";

export const command = defineScript({
  meta: { name: "stop", description: "Stop the embedded server and the local Vault; their data stays" },
  args: { mode: stackFlags.mode, timeout: stackFlags.timeout },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { stopStack } = await import("./lib/operations/stop.ts");
    return stopStack(await openStack(loadConfig(args)), { reporter, signal });
  },
  print({ pid, vaultPid, containers }, output) {
    for (const name of containers) output.result(`stopped ${name}`);
    if (pid !== null) output.result(`stopped PostgreSQL (pid ${pid})`);
    if (vaultPid !== null) output.result(`stopped Vault (pid ${vaultPid})`);
    if (pid === null && vaultPid === null && containers.length === 0) output.result("nothing was running");
  },
});

if (import.meta.main) await runAsProcess(command);
