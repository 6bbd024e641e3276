// Deletes the data of the embedded server, or of the containers.
// Reads: configuration, the stack directory, row counts. Writes: deletes postgres/data (compose: the volume) and state.json.
// Exits: 0 destroyed, or nothing there · 2 configuration · 5 locked · 8 refused without --yes · 9 not our data · 124 timeout
import { defineScript } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatBytes } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { exitCodes, ScriptError } from "./lib/cli/script-error.ts";
import type { DestructionPlan } from "./lib/operations/destroy.ts";

export const command = defineScript({
  meta: { name: "destroy", description: "Delete the embedded server's data; secrets and backups stay" },
  args: { mode: stackFlags.mode, timeout: stackFlags.timeout },
  async run({ args, reporter, signal, canAsk }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { destroyStack, planDestruction } = await import("./lib/operations/destroy.ts");
    const stack = await openStack(loadConfig(args));
    const plan = await planDestruction(stack);
    if (plan === undefined) return { isDestroyed: false, plan: null };
    if (args.yes !== true && !canAsk) throw refused(plan);
    reporter.info(describeDestruction(plan));
    if (args.yes !== true && !(await confirm())) throw refused(plan);
    await destroyStack(stack, { reporter, signal });
    return { isDestroyed: true, plan };
  },
  print({ isDestroyed, plan }, output) {
    output.result(isDestroyed ? `destroyed ${plan?.dataDirectory}` : "nothing to destroy");
  },
});

async function confirm(): Promise<boolean> {
  const { consola } = await import("consola");
  return (await consola.prompt("Delete it?", { type: "confirm", initial: false, cancel: "undefined" })) === true;
}

function describeDestruction({ dataDirectory, sizeBytes, streams, events, kept }: DestructionPlan): string {
  const rows = events === null ? "rows not counted" : `events: ${events}, streams: ${streams}`;
  const staying = kept.length === 0 ? "" : `\nstays: ${kept.join(", ")}`;
  return `to be deleted: ${dataDirectory} (${sizeBytes === null ? "size unknown" : formatBytes(sizeBytes)}, ${rows})${staying}`;
}

function refused(plan: DestructionPlan): ScriptError {
  return new ScriptError({
    code: "REFUSED",
    exitCode: exitCodes.refused,
    message: "Nothing was deleted",
    why: describeDestruction(plan),
    fix: "bun run destroy --yes",
    data: { isDestroyed: false, plan },
  });
}

if (import.meta.main) await runAsProcess(command);
