// Appends demo data through the event store, and runs the example projection over it.
// Reads: configuration, sql/demo, the database. Writes: the database.
// Exits: 0 · 2 configuration · 3 not running · 6 login refused · 8 other events are in the way
import { defineScript } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";

export const command = defineScript({
  meta: { name: "seed", description: "Append demo data, and project it into order_summary" },
  args: { mode: stackFlags.mode, database: stackFlags.database },
  async run({ args, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { orderSummary } = await import("./lib/demo/order-summary.ts");
    const { seedDemo } = await import("./lib/demo/seed.ts");
    const { loadProjections, runProjections, withStackStore } = await import("./lib/stack/projections.ts");
    return withStackStore(loadConfig(args), async (store) => {
      const seeded = await seedDemo(store);
      const example = await loadProjections(undefined, orderSummary.name);
      await runProjections(store, example, { stopWhenCaughtUp: true, signal });
      return seeded;
    });
  },
  print({ streams, appended }, output) {
    output.result(
      appended > 0 ? `appended ${appended} events of ${streams} orders` : `all ${streams} orders are there`,
    );
    output.result("select * from read_model.order_summary;  shows what was made of them");
  },
});

if (import.meta.main) await runAsProcess(command);
