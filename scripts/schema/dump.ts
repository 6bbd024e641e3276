import { stackFlags } from "../lib/cli/flags.ts";
import { silentRunLine } from "../lib/cli/run-line.ts";
import { defineStackScript } from "../lib/stack/define-stack-script.ts";

export const dump = defineStackScript({
  meta: { name: "dump", description: "Prints the schema as SQL, the same for the same schema." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    reference: { type: "boolean", description: "Print the schema that the files alone create" },
  },
  examples: [[`${silentRunLine("schema")} dump --reference >sql/schema.sql`, "Update the file after a migration"]],
  async run({ args, stack, reporter, signal }) {
    const { requireAdministrator } = await import("../lib/stack/administrator.ts");
    const { dumpSchema } = await import("../lib/schema/dump.ts");
    const { readReference } = await import("../lib/operations/schema-drift.ts");
    if (args.reference) return { sql: await readReference(stack, [], { reporter, signal }) };
    return { sql: await dumpSchema(await requireAdministrator(stack), signal) };
  },
  print: ({ sql }, output) => output.result(sql.trimEnd()),
});
