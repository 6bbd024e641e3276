import { stackFlags } from "../lib/cli/flags.ts";
import { runLine } from "../lib/cli/run-line.ts";
import { defineStackScript } from "../lib/stack/define-stack-script.ts";

export const apply = defineStackScript({
  meta: { name: "apply", description: "Applies pending files, each in its own transaction." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    dir: stackFlags.dir,
    "dry-run": { type: "boolean", description: "Run the files, then roll everything back" },
    to: { type: "string", valueHint: "number", description: "Last migration of the project to apply, such as 0005" },
    "lock-timeout": { type: "duration", description: "Limit for each lock, by default 5s" },
    "statement-timeout": { type: "duration", description: "Limit for each statement" },
    with: { type: "string", valueHint: "name", description: "Also apply this file from sql/optional" },
  },
  examples: [
    [runLine("schema apply"), "Apply pending files"],
    [runLine("schema apply --with event-data-index"), "Also create an optional index"],
  ],
  async run({ args, config, stack, reporter, signal }) {
    const { requireAdministrator } = await import("../lib/stack/administrator.ts");
    const { applySchema } = await import("../lib/schema/apply.ts");
    const { readAllFiles } = await import("../lib/schema/source.ts");
    return applySchema(await requireAdministrator(stack), {
      files: await readAllFiles(config.sqlDir),
      to: args.to,
      isDryRun: args["dry-run"] === true,
      lockTimeoutMs: args["lock-timeout"],
      statementTimeoutMs: args["statement-timeout"],
      timeoutMs: config.timeoutMs,
      optional: args.with === undefined ? [] : [args.with],
      signal,
      onWait: (holder) => reporter.info(`waiting for ${holder}, which is changing the schema`),
      onBlocked: (text) => reporter.info(text),
      onApplied: (name) => reporter.verbose(`applied ${name}`),
      onNotice: (text) => reporter.warn(text),
    });
  },
  print({ applied, total, isDryRun, untried }, output) {
    for (const name of applied) output.result(`${isDryRun ? "would apply" : "applied"} ${name}`);
    for (const name of untried) output.result(`not tried: ${name}`);
    if (applied.length + untried.length === 0) output.result(`nothing to apply: all ${total} files are applied`);
  },
});
