import { stackFlags } from "../lib/cli/flags.ts";
import { formatTable } from "../lib/cli/format.ts";
import { runLine } from "../lib/cli/run-line.ts";
import { exitCodes } from "../lib/cli/script-error.ts";
import { defineStackScript } from "../lib/stack/define-stack-script.ts";

export const status = defineStackScript({
  meta: { name: "status", description: "Shows which files are applied and which are pending." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    dir: stackFlags.dir,
    drift: { type: "boolean", description: "Also show objects that are not as the files create them" },
    "exit-code": { type: "boolean", description: "Exit with code 10 if a file is pending" },
  },
  examples: [
    [runLine("schema status --exit-code"), "Check in CI that everything is applied"],
    [runLine("schema status --drift"), "Compare the database with one that the files alone create"],
  ],
  async run({ args, config, stack, reporter, signal }) {
    const { administratorTarget } = await import("../lib/stack/stack.ts");
    const { readAllFiles, titleOf } = await import("../lib/schema/source.ts");
    const { readSchemaStatus } = await import("../lib/schema/apply.ts");
    const { applied, pending } = await readSchemaStatus(
      await administratorTarget(stack),
      await readAllFiles(config.sqlDir),
      signal,
    );
    if (!args.drift) return { applied, pending, drift: null };
    const { readDrift } = await import("../lib/operations/schema-drift.ts");
    const names = applied.map(titleOf);
    return { applied, pending, drift: await readDrift(stack, names, { reporter, signal }) };
  },
  print({ applied, pending, drift }, output) {
    const rows = [
      ...applied.map((entry) => [
        entry.source === "cqrs" ? entry.name : `app/${entry.name}`,
        entry.progress === null ? "applied" : "half applied",
      ]),
      ...pending.map((name) => [name, "pending"]),
    ];
    output.result(formatTable(rows as [string, string][]));
    if (drift === null) output.result("drift: not checked (--drift compares the objects)");
    for (const { object, difference } of drift ?? []) output.result(`${difference}: ${object}`);
    if (drift?.length === 0) output.result("no drift: every object is as the files create it");
  },
  exitCode: ({ pending }, args) => {
    return args["exit-code"] && pending.length > 0 ? exitCodes.pending : exitCodes.ok;
  },
});
