// Lists, runs, rebuilds and removes projections, and retries dead letters.
// Reads: configuration, a module with projections, the database. Writes: the database.
// Exits: 0 · 1 create or refresh failed · 2 configuration, or no such projection · 3 not running · 5 a run holds its
// lease · 6 login refused · 8 refused · 12 dead letters · 13 retired: nothing is projected · 130, 143 stopped
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { formatLag } from "./lib/operations/format-lag.ts";
import { endOfRuns, formatRebuild, formatRun } from "./lib/operations/format-projection-end.ts";
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
  examples: [[runLine("projections list"), "Show lag, owner and dead letters"]],
  async run({ config, reporter }) {
    const { listProjections } = await import("./lib/operations/list-projections.ts");
    return { projections: await listProjections(config, reporter) };
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
  examples: [[runLine("projections run order_summary --once"), "Catch up, then stop"]],
  endsBySignal: ({ once }) => !once,
  async run({ args, config, reporter, signal }) {
    const { withWatchedProjections } = await import("./lib/operations/watch-projections.ts");
    const { runProjections } = await import("./lib/stack/projections.ts");
    const { partitions } = args;
    const options = { stopWhenCaughtUp: args.once, signal, ...(partitions === undefined ? {} : { partitions }) };
    return withWatchedProjections(config, args, reporter, async (store, definitions) => ({
      projections: await runProjections(store, definitions, options),
    }));
  },
  print({ projections }, output) {
    for (const end of projections) output.result(formatRun(end));
  },
  exitCode: ({ projections }) => endOfRuns(projections),
});

const rebuild = defineConfiguredScript({
  meta: { name: "rebuild", description: "Builds a new version while the old one keeps serving, then cuts over to it." },
  args: chosen,
  examples: [[runLine("projections rebuild --module ./orders.ts"), "Build and cut over without downtime"]],
  async run({ args, config, reporter, signal }) {
    const { withWatchedProjections } = await import("./lib/operations/watch-projections.ts");
    const { rebuildProjections } = await import("./lib/stack/projections.ts");
    return withWatchedProjections(config, args, reporter, async (store, definitions) => ({
      projections: await rebuildProjections(store, definitions, signal),
    }));
  },
  print({ projections }, output) {
    for (const end of projections) output.result(formatRebuild(end));
  },
  exitCode: ({ projections }) => endOfRuns(projections),
});

const replay = defineConfiguredScript({
  meta: { name: "replay", description: "Retries dead letters, once their cause is fixed." },
  args: chosen,
  examples: [[runLine("projections replay --module ./orders.ts"), "Retry the dead letters of a module"]],
  async run({ args, config }) {
    const { replayProjections, withProjections } = await import("./lib/stack/projections.ts");
    return withProjections(config, args, async (store, definitions) => ({
      projections: await replayProjections(store, definitions),
    }));
  },
  print({ projections }, output) {
    for (const { name, replayed, remaining } of projections) {
      output.result(`${name}: ${replayed} replayed, ${remaining} dead letters left`);
    }
  },
});

const remove = defineConfiguredScript({
  meta: { name: "remove", description: "Removes a projection: its tables, checkpoints and dead letters." },
  args: {
    mode,
    database,
    name: { type: "positional", description: "Name of the projection" },
    version: { type: "number", min: 1, description: "Remove only this version (default: all)" },
    yes: { type: "boolean", alias: "y", description: "Remove without asking" },
  },
  examples: [[runLine("projections remove order_summary"), "Show what would be removed, then ask"]],
  async run({ args, config, confirm }) {
    const { removeStored } = await import("./lib/operations/remove-projection.ts");
    return removeStored(config, args, confirm);
  },
  print({ name, versions }, output) {
    for (const { version } of versions) output.result(`${name}: version ${version} is removed`);
  },
});

export const command = defineScriptGroup({
  meta: { name: "projections", description: "Lists, runs, rebuilds and removes projections; retries dead letters." },
  examples: [[runLine("projections run --module ./orders.ts"), "Run all projections of a module"]],
  subCommands: { list, run, rebuild, replay, remove },
});

if (import.meta.main) await runAsProcess(command);
