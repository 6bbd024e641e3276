// Deletes the data of the embedded server or of the containers, and the test server. Secrets and backups stay.
// Reads: configuration, the stack directory, row counts. Writes: deletes postgres/data (compose: the volume),
// state.json and test/. Exits: 0 destroyed, or nothing to destroy · 2 configuration · 5 locked · 8 refused without
// --yes · 9 not a data directory · 124 timeout

import { stackFlags } from "./lib/cli/flags.ts";
import { formatBytes } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import type { DestructionPlan } from "./lib/operations/destroy.ts";
import type { DoomedDatabase } from "./lib/operations/destroyed-databases.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: {
    name: "destroy",
    description: "Deletes the data of the embedded server or the containers. Secrets and backups stay.",
  },
  args: {
    mode: stackFlags.mode,
    timeout: stackFlags.timeout,
    yes: { type: "boolean", alias: "y", description: "Delete without asking" },
  },
  examples: [
    [runLine("destroy"), "Show what would be deleted, then ask"],
    [runLine("destroy --yes"), "Delete without asking"],
  ],
  isLocal: true,
  async run({ stack, reporter, signal, confirm }) {
    const { destroyStack, planDestruction } = await import("./lib/operations/destroy.ts");
    const plan = await planDestruction(stack, { reporter, signal });
    if (plan === undefined) return { isDestroyed: false, plan: null };
    await confirm({
      plan: describeDestruction(plan),
      question: "Delete it?",
      refusal: "Nothing was deleted",
      data: { isDestroyed: false, plan },
    });
    await destroyStack(stack, { reporter, signal });
    return { isDestroyed: true, plan };
  },
  print({ isDestroyed, plan }, output) {
    const places = [plan?.dataDirectory, plan?.testDirectory].filter(isText).join(" and ");
    output.result(isDestroyed ? `destroyed ${places}` : "nothing to destroy");
  },
});

function describeDestruction(plan: DestructionPlan): string {
  const { dataDirectory, testDirectory, kept, databases } = plan;
  return [
    ...(dataDirectory === null ? [] : [`deletes: ${dataDirectory} (${describeData(plan)})`]),
    ...(databases ?? []).map(describeDatabase),
    ...(testDirectory === null ? [] : [`deletes: ${testDirectory} (the test server)`]),
    ...(kept.length === 0 ? [] : [`keeps: ${kept.join(", ")}`]),
  ].join("\n");
}

function describeData({ sizeBytes, databases, uncounted }: DestructionPlan): string {
  const size = sizeBytes === null ? "size unknown" : formatBytes(sizeBytes);
  return databases === null ? `${size}, rows not counted: ${uncounted}` : size;
}

function describeDatabase({ name, sizeBytes, streams, events, uncounted }: DoomedDatabase): string {
  const rows = events === null ? "no event store" : `events: ${events}, streams: ${streams}`;
  return `  ${name} (${formatBytes(sizeBytes)}, ${uncounted === null ? rows : `rows not counted: ${uncounted}`})`;
}

function isText(place: string | null | undefined): place is string {
  return typeof place === "string";
}

if (import.meta.main) await runAsProcess(command);
