import { stackFlags } from "../lib/cli/flags.ts";
import { runLine } from "../lib/cli/run-line.ts";
import { defineStackScript } from "../lib/stack/define-stack-script.ts";

export const repair = defineStackScript({
  meta: { name: "repair", description: "Makes the ledger and the project's files agree again, after asking." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    dir: stackFlags.dir,
    "dry-run": { type: "boolean", description: "Only show what would be done" },
    yes: { type: "boolean", alias: "y", description: "Repair without asking" },
  },
  examples: [
    [runLine("schema repair --dry-run"), "Show what it would do"],
    [runLine("schema repair"), "Accept edited and renamed files, and renumber what comes too late"],
  ],
  async run({ args, config, stack, reporter, signal, confirm }) {
    const { requireAdministrator } = await import("../lib/stack/administrator.ts");
    const { describeRepair, repairSchema } = await import("../lib/schema/repair.ts");
    const { readAllFiles } = await import("../lib/schema/source.ts");
    return repairSchema(await requireAdministrator(stack), {
      readFiles: () => readAllFiles(config.sqlDir, { isChecked: false }),
      isDryRun: args["dry-run"] === true,
      timeoutMs: config.timeoutMs,
      signal,
      onWait: (holder) => reporter.info(`waiting for ${holder}, which is changing the schema`),
      confirm: (repairs) =>
        confirm({
          plan: repairs.map(describeRepair).join("\n"),
          question: "Do this?",
          refusal: "Nothing was repaired",
          data: { repairs: repairs.map(describeRepair), isDryRun: false },
        }),
    });
  },
  print({ repairs, isDryRun }, output) {
    for (const repair of repairs) output.result(`${isDryRun ? "would do: " : ""}${repair}`);
    if (repairs.length === 0) output.result("nothing to repair");
  },
});
