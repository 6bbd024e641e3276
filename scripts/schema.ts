// Applies the schema files, or shows which are applied.
// Reads: configuration, sql/, the database. Writes: the database.
// Exits: 0 · 1 a file failed · 2 configuration · 3 not running · 4 drift · 5 locked · 6 login refused ·
// 10 files are pending (schema status --exit-code)
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatTable } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { exitCodes } from "./lib/cli/script-error.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

const apply = defineStackScript({
  meta: { name: "apply", description: "Applies pending files, each in its own transaction." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    with: { type: "string", valueHint: "name", description: "Also apply this file from sql/optional" },
  },
  examples: [
    ["bun run schema apply", "Apply pending files"],
    ["bun run schema apply --with event-data-index", "Also create an optional index"],
  ],
  async run({ args, config, stack, reporter, signal }) {
    const { administratorTarget } = await import("./lib/stack/stack.ts");
    const { applySchema } = await import("./lib/schema/apply.ts");
    return applySchema(await administratorTarget(stack), {
      timeoutMs: config.timeoutMs,
      optional: args.with === undefined ? [] : [args.with],
      signal,
      onWait: (holder) => reporter.info(`waiting for ${holder}, which is changing the schema`),
      onApplied: (name) => reporter.verbose(`applied ${name}`),
      onNotice: (text) => reporter.warn(text),
    });
  },
  print({ applied, total }, output) {
    for (const name of applied) output.result(`applied ${name}`);
    if (applied.length === 0) output.result(`nothing to apply: all ${total} files are applied`);
  },
});

const status = defineStackScript({
  meta: { name: "status", description: "Shows which files are applied and which are pending." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    "exit-code": { type: "boolean", description: "Exit with code 10 if a file is pending" },
  },
  examples: [["bun run schema status --exit-code", "Check in CI that everything is applied"]],
  async run({ stack, signal }) {
    const { administratorTarget } = await import("./lib/stack/stack.ts");
    const { readSchemaStatus } = await import("./lib/schema/apply.ts");
    return readSchemaStatus(await administratorTarget(stack), signal);
  },
  print({ applied, pending }, output) {
    const rows = [...applied.map(({ name }) => [name, "applied"]), ...pending.map((name) => [name, "pending"])];
    output.result(formatTable(rows as [string, string][]));
  },
  exitCode: ({ pending }, args) => {
    return args["exit-code"] && pending.length > 0 ? exitCodes.pending : exitCodes.ok;
  },
});

export const command = defineScriptGroup({
  meta: { name: "schema", description: "Applies the schema files, or shows which are applied." },
  examples: [
    ["bun run schema apply", "Apply pending files"],
    ["bun run schema status", "Show what is applied"],
  ],
  subCommands: { apply, status },
});

if (import.meta.main) await runAsProcess(command);
