import { usageError } from "../lib/cli/errors.ts";
import { stackFlags } from "../lib/cli/flags.ts";
import { runLine } from "../lib/cli/run-line.ts";
import { defineConfiguredScript } from "../lib/stack/define-stack-script.ts";

export const create = defineConfiguredScript({
  meta: { name: "new", description: "Creates the project's next migration, without statements." },
  args: {
    name: { type: "positional", description: "What it does, such as add-invoices" },
    dir: stackFlags.dir,
  },
  examples: [[runLine("schema new add-invoices"), "Create 0001-add-invoices.sql, or the next number"]],
  async run({ args, config }) {
    if (args.name === undefined) throw usageError("The migration needs a name", `Run ${runLine("schema new")} <name>`);
    const { createMigration } = await import("../lib/schema/create.ts");
    return createMigration(config.sqlDir, args.name);
  },
  print: ({ path }, output) => output.result(path),
});
