import { stackFlags } from "../lib/cli/flags.ts";
import { runLine } from "../lib/cli/run-line.ts";
import { exitCodes } from "../lib/cli/script-error.ts";
import { defineStackScript } from "../lib/stack/define-stack-script.ts";

export const verify = defineStackScript({
  meta: { name: "verify", description: "Checks the ledger, the objects, their comments and the invariants." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    dir: stackFlags.dir,
  },
  examples: [[runLine("schema verify"), "Check the schema of a database, for example in CI"]],
  async run({ stack, reporter, signal }) {
    const { verifySchema } = await import("../lib/operations/verify-schema.ts");
    return verifySchema(stack, { reporter, signal });
  },
  print({ checks }, output) {
    for (const { name, problems } of checks) {
      output.result(`${problems.length === 0 ? "ok" : "failed"}: ${name}`);
      for (const problem of problems) output.result(`  ${problem}`);
    }
  },
  exitCode: ({ checks }) => {
    return checks.every(({ problems }) => problems.length === 0) ? exitCodes.ok : exitCodes.verification;
  },
});
