// Fills the database: with the demo, whose orders it projects, or with a set of the project.
// Reads: configuration, the project's seeds/, the database. Writes: the database.
// Exits: 0 · 1 a statement or module of the set failed · 2 usage, or a wrong set · 3 not running · 6 login refused ·
// 8 the database has other events

import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { defineConfiguredScript } from "./lib/stack/define-stack-script.ts";

export const command = defineConfiguredScript({
  meta: { name: "seed", description: "Fills the database with the demo, or with a set of the project. Idempotent." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    dir: stackFlags.dir,
    set: { type: "string", valueHint: "name", description: "A file of seeds/, without its ending (default: demo)" },
    events: { type: "number", min: 1, description: "Number of events of the demo (default: 500)" },
    rng: { type: "string", valueHint: "seed", description: "Another seed gives another demo (default: 1)" },
  },
  examples: [
    [runLine("seed"), "Append 500 events of a shop and project its orders"],
    [runLine("seed --events 100000"), "Append as many"],
    [runLine("seed --set dev"), "Load seeds/dev.sql, seeds/dev.ts or seeds/dev.jsonl in one transaction"],
  ],
  async run({ args, config, reporter, signal }) {
    const { seed } = await import("./lib/seed/seed.ts");
    const { set, events, rng } = args;
    return await seed(config, { set, events, rng }, { reporter, signal });
  },
  print({ set, file, events, appended }, output) {
    output.result(describe(events, appended, file ?? `the set ${set}`));
    if (file === null) output.result("select * from read_model.order_summary;  shows the projected orders");
  },
});

function describe(events: number | null, appended: number | null, source: string): string {
  if (events === null) return `loaded ${source}`;
  return appended === 0
    ? `nothing to append: ${source} has ${events} events, which are in the log`
    : `appended ${appended} of ${events} events of ${source}`;
}

if (import.meta.main) await runAsProcess(command);
