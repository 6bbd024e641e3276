// Applies the schema files, or shows the schema.
// Reads: configuration, sql/, the database. Writes: the database.
// Exits: 0 · 1 a file failed · 2 configuration · 3 not running · 4 drift · 5 locked · 6 login refused ·
// 10 files are pending (schema status --exit-code)
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatTable } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine, silentRunLine } from "./lib/cli/run-line.ts";
import { exitCodes } from "./lib/cli/script-error.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

const apply = defineStackScript({
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
    const { administratorTarget } = await import("./lib/stack/stack.ts");
    const { applySchema } = await import("./lib/schema/apply.ts");
    const { readAllFiles } = await import("./lib/schema/source.ts");
    return applySchema(await administratorTarget(stack), {
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

const status = defineStackScript({
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
    const { administratorTarget } = await import("./lib/stack/stack.ts");
    const { readAllFiles, titleOf } = await import("./lib/schema/source.ts");
    const { readSchemaStatus } = await import("./lib/schema/apply.ts");
    const { applied, pending } = await readSchemaStatus(
      await administratorTarget(stack),
      await readAllFiles(config.sqlDir),
      signal,
    );
    if (!args.drift) return { applied, pending, drift: null };
    const { readDrift } = await import("./lib/operations/schema-drift.ts");
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

const dump = defineStackScript({
  meta: { name: "dump", description: "Prints the schema as SQL, the same for the same schema." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    reference: { type: "boolean", description: "Print the schema that the files alone create" },
  },
  examples: [[`${silentRunLine("schema")} dump --reference >sql/schema.sql`, "Update the file after a migration"]],
  async run({ args, stack, reporter, signal }) {
    const { administratorTarget } = await import("./lib/stack/stack.ts");
    const { dumpSchema } = await import("./lib/schema/dump.ts");
    const { readReference } = await import("./lib/operations/schema-drift.ts");
    if (args.reference) return { sql: await readReference(stack, [], { reporter, signal }) };
    return { sql: await dumpSchema(await administratorTarget(stack), signal) };
  },
  print: ({ sql }, output) => output.result(sql.trimEnd()),
});

export const command = defineScriptGroup({
  meta: { name: "schema", description: "Applies the schema files, or shows the schema." },
  examples: [
    [runLine("schema apply"), "Apply pending files"],
    [runLine("schema status"), "Show what is applied"],
  ],
  subCommands: { apply, status, dump },
});

if (import.meta.main) await runAsProcess(command);
