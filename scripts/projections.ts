// Lists, runs and rebuilds projections, and retries dead letters.
// Reads: configuration, a module with projections, the database. Writes: the database.
// Exits: 0 · 2 configuration, or no such projection · 3 not running · 6 login refused · 8 refused · 130, 143 stopped
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { formatLag } from "./lib/operations/format-lag.ts";
import { formatRebuild, formatRun } from "./lib/operations/format-projection-end.ts";
import { defineConfiguredScript } from "./lib/stack/define-stack-script.ts";

const { mode, database } = stackFlags;
const chosen = {
  mode,
  database,
  name: { type: "positional", description: "Name of a projection; by default, all that the module exports" },
  module: { type: "string", valueHint: "path", description: "Module that exports projections; default: the example" },
} as const;

const list = defineConfiguredScript({
  meta: { name: "list", description: "Shows the lag of each projection, its owner, and what holds it back." },
  args: { mode, database },
  examples: [["bun run projections list", "Show lag, owner and dead letters"]],
  async run({ config }) {
    const { readProjectionLag } = await import("./lib/event-store/projection/progress.ts");
    const { withStackStore } = await import("./lib/stack/projections.ts");
    return { projections: await withStackStore(config, readProjectionLag) };
  },
  print({ projections }, output) {
    if (projections.length === 0) output.result("no projection has run yet");
    else output.result(projections.map(formatLag).join("\n\n"));
  },
});

const run = defineConfiguredScript({
  meta: { name: "run", description: "Runs projections until the process is stopped." },
  args: {
    ...chosen,
    once: { type: "boolean", description: "Stop at the end of the log" },
    partitions: { type: "number", min: 1, description: "Partitions to handle concurrently (default: 1)" },
  },
  examples: [
    ["bun run projections run --module ./orders.ts", "Run all projections of a module"],
    ["bun run projections run order_summary --once", "Catch up, then stop"],
  ],
  endsBySignal: ({ once }) => !once,
  async run({ args, config, reporter, signal }) {
    const { watchProjections } = await import("./lib/operations/watch-projections.ts");
    const { loadProjections, runProjections, withStackStore } = await import("./lib/stack/projections.ts");
    const definitions = await loadProjections(args.module, args.name);
    const { partitions } = args;
    const options = { stopWhenCaughtUp: args.once, signal, ...(partitions === undefined ? {} : { partitions }) };
    return withStackStore(config, async (store) => {
      await using _watch = watchProjections(store, definitions, reporter);
      return { projections: await runProjections(store, definitions, options) };
    });
  },
  print({ projections }, output) {
    for (const end of projections) output.result(formatRun(end));
  },
});

const rebuild = defineConfiguredScript({
  meta: { name: "rebuild", description: "Builds a new version while the old one keeps serving, then cuts over to it." },
  args: chosen,
  examples: [["bun run projections rebuild --module ./orders.ts", "Build and cut over without downtime"]],
  async run({ args, config, reporter, signal }) {
    const { watchProjections } = await import("./lib/operations/watch-projections.ts");
    const { loadProjections, rebuildProjection, withStackStore } = await import("./lib/stack/projections.ts");
    const definitions = await loadProjections(args.module, args.name);
    return withStackStore(config, async (store) => {
      await using _watch = watchProjections(store, definitions, reporter);
      const rebuilt = [];
      for (const definition of definitions) rebuilt.push(await rebuildProjection(store, definition, signal));
      return { projections: rebuilt };
    });
  },
  print({ projections }, output) {
    for (const end of projections) output.result(formatRebuild(end));
  },
});

const replay = defineConfiguredScript({
  meta: { name: "replay", description: "Retries dead letters, once their cause is fixed." },
  args: chosen,
  examples: [["bun run projections replay --module ./orders.ts", "Retry the dead letters of a module"]],
  async run({ args, config }) {
    const { replayDeadLetters } = await import("./lib/event-store/projection/dead-letters.ts");
    const { loadProjections, withStackStore } = await import("./lib/stack/projections.ts");
    const definitions = await loadProjections(args.module, args.name);
    return withStackStore(config, async (store) => {
      const replayed = [];
      for (const one of definitions) replayed.push({ name: one.name, ...(await replayDeadLetters(store, one)) });
      return { projections: replayed };
    });
  },
  print({ projections }, output) {
    for (const { name, replayed, remaining } of projections) {
      output.result(`${name}: ${replayed} replayed, ${remaining} dead letters left`);
    }
  },
});

export const command = defineScriptGroup({
  meta: { name: "projections", description: "Lists, runs and rebuilds projections, and retries dead letters." },
  examples: [["bun run projections run --module ./orders.ts", "Run all projections of a module"]],
  subCommands: { list, run, rebuild, replay },
});

if (import.meta.main) await runAsProcess(command);
