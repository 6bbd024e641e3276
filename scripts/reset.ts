// Replaces the database by a new one with the schema and no data, after a backup.
// Reads: configuration, sql/, the project's SQL folder. Writes: an archive, the database.
// Exits: 0 · 1 a file failed · 2 usage · 3 not running, or sessions remain · 4 drift · 5 locked · 6 login refused ·
// 8 refused without --yes, or another host · 9 disk full

import type { Confirmation } from "./lib/cli/confirm.ts";
import { usageError } from "./lib/cli/errors.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import type { ResetPlan, ResetResult } from "./lib/operations/reset.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: { name: "reset", description: "Empties the database: backs it up, then replaces it by a new one." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    dir: stackFlags.dir,
    timeout: stackFlags.timeout,
    backup: { type: "boolean", default: true, description: "Back up first", negativeDescription: "Do not back up" },
    empty: { type: "boolean", description: "Leave out the schema too" },
    seed: { type: "boolean", description: "Seed the new database" },
    set: { type: "string", valueHint: "name", description: "The set to seed (default: demo)" },
    "allow-remote": { type: "boolean", description: "Accept a server on another host" },
    yes: { type: "boolean", alias: "y", description: "Do not ask for the name of the database" },
  },
  examples: [
    [runLine("reset"), "Show what would be lost, then ask for the database's name"],
    [runLine("reset --no-backup --seed --yes"), "Start over with demo data"],
  ],
  check({ seed, set, empty }) {
    if (empty && seed) throw usageError("--empty and --seed cannot be combined");
    if (set !== undefined && !seed) throw usageError("--set needs --seed");
  },
  async run({ args, config, stack, reporter, signal, confirm }) {
    const { resetDatabase } = await import("./lib/operations/reset.ts");
    const { checkSet, seed } = await import("./lib/seed/seed.ts");
    if (args.seed) await checkSet(config, args.set);
    using progress = reporter.transfer("backup");
    const options = {
      backUp: args.backup,
      isEmpty: args.empty,
      allowRemote: args["allow-remote"],
      confirm: (plan: ResetPlan) => confirm(describeReset(plan)),
      onProgress: progress.show,
    };
    const reset = await resetDatabase(stack, options, { reporter, signal });
    if (!args.seed) return { ...reset, seeded: null };
    reporter.info(describeResult(reset));
    const chosen = { set: args.set, events: undefined, rng: undefined };
    return { ...reset, seeded: await seed(config, chosen, { reporter, signal }) };
  },
  print({ seeded, ...reset }, output) {
    if (seeded === null) return output.result(describeResult(reset));
    output.result(`reset ${reset.database} and seeded it with ${seeded.file ?? `the set ${seeded.set}`}`);
  },
});

function describeResult({ database, isEmpty, archive }: ResetResult): string {
  const backup = archive === null ? "" : `; the backup is ${archive}`;
  return `reset ${database}, which ${isEmpty ? "has no schema" : "has the schema and no data"} now${backup}`;
}

function describeReset({ database, server, events, isEmpty, backUp, slots }: ResetPlan): Confirmation {
  const content = events === null ? "no event store" : `events: ${events}`;
  return {
    plan: [
      `deletes: everything in ${database} on ${server} (${content})`,
      `leaves: ${isEmpty ? "a database without a schema" : "the schema without data"}`,
      `backs up first: ${backUp ? "yes" : "no"}`,
      ...(slots.length > 0 ? [`replication slots that are dropped with it: ${slots.join(", ")}`] : []),
    ].join("\n"),
    question: "Type the name of the database to reset it:",
    answer: database,
    refusal: "Nothing was reset",
    data: { isReset: false, database, events, isEmpty, archive: null, kept: null, seeded: null },
  };
}

if (import.meta.main) await runAsProcess(command);
