// Applies the schema, and tells what is applied.
// Reads: configuration, sql/, the database. Writes: the database.
// Exits: 0 · 1 a file failed · 2 configuration · 3 not running · 4 drift · 5 locked · 6 login refused · 10 pending (status --exit-code)
import { defineScript, defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatTable } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { exitCodes } from "./lib/cli/script-error.ts";

const apply = defineScript({
  meta: { name: "apply", description: "Apply what is not applied yet" },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    with: { type: "string", valueHint: "name", description: "Apply an optional part too: a file of sql/optional" },
  },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { administratorTarget, openStack } = await import("./lib/stack/stack.ts");
    const { applySchema } = await import("./lib/schema/apply.ts");
    const config = loadConfig(args);
    return applySchema(await administratorTarget(await openStack(config)), {
      timeoutMs: config.timeoutMs,
      optional: typeof args.with === "string" ? [args.with] : [],
      signal,
      onWait: (holder) => reporter.info(`waiting for ${holder}, which is changing the schema`),
      onApplied: (name) => reporter.verbose(`applied ${name}`),
      onNotice: (text) => reporter.warn(text),
    });
  },
  print({ applied, total }, output) {
    for (const name of applied) output.result(`applied ${name}`);
    if (applied.length === 0) output.result(`nothing to apply: ${total} files are applied`);
  },
});

const status = defineScript({
  meta: { name: "status", description: "Tell what is applied and what is not" },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    "exit-code": { type: "boolean", description: "Exit with 10 when something is pending" },
  },
  async run({ args, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { administratorTarget, openStack } = await import("./lib/stack/stack.ts");
    const { readSchemaStatus } = await import("./lib/schema/apply.ts");
    const target = await administratorTarget(await openStack(loadConfig(args)));
    return readSchemaStatus(target, signal);
  },
  print({ applied, pending }, output) {
    const rows = [...applied.map(({ name }) => [name, "applied"]), ...pending.map((name) => [name, "pending"])];
    output.result(formatTable(rows as [string, string][]));
  },
  exitCode: ({ pending }, args) => {
    return args["exit-code"] === true && pending.length > 0 ? exitCodes.pending : exitCodes.ok;
  },
});

export const command = defineScriptGroup({
  meta: { name: "schema", description: "Apply the schema, or tell what is applied" },
  subCommands: { apply, status },
});

if (import.meta.main) await runAsProcess(command);
