// Appends demo data through the event store and projects it.
// Reads: configuration, sql/demo, the database. Writes: the database.
// Exits: 0 · 2 configuration · 3 not running · 6 login refused · 8 the demo orders have other events

import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { defineConfiguredScript } from "./lib/stack/define-stack-script.ts";

export const command = defineConfiguredScript({
  meta: { name: "seed", description: "Appends demo data and projects it into order_summary. Idempotent." },
  args: { mode: stackFlags.mode, database: stackFlags.database },
  examples: [[runLine("seed"), "Append 142 events of 60 orders"]],
  async run({ config, signal }) {
    const { orderSummary } = await import("./lib/demo/order-summary.ts");
    const { seedDemo } = await import("./lib/demo/seed.ts");
    const { runProjections, withProjections } = await import("./lib/stack/projections.ts");
    const chosen = { module: undefined, name: orderSummary.name };
    return withProjections(config, chosen, async (store, example) => {
      const seeded = await seedDemo(store);
      await runProjections(store, example, { stopWhenCaughtUp: true, signal });
      return seeded;
    });
  },
  print({ streams, appended }, output) {
    output.result(
      appended > 0 ? `appended ${appended} events of ${streams} orders` : `nothing to append: ${streams} orders exist`,
    );
    output.result("select * from read_model.order_summary;  shows the projected orders");
  },
});

if (import.meta.main) await runAsProcess(command);
