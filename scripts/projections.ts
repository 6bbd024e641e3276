// Lists projections, runs them, builds a new version beside the one that serves, replays what was set aside.
// Reads: configuration, a module with projections, the database. Writes: the database.
// Exits: 0 · 2 configuration, no such projection · 3 not running · 6 login refused · 8 refused · 130, 143 stopped
import { defineScript, defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatSeconds, formatTable } from "./lib/cli/format.ts";
import type { Output } from "./lib/cli/output.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import type { ProjectionLag } from "./lib/event-store/projection/progress.ts";

const stack = { mode: stackFlags.mode, database: stackFlags.database } as const;
const chosen = {
  ...stack,
  name: { type: "positional", required: false, description: "The projection; all of the module when left out" },
  module: { type: "string", valueHint: "path", description: "Module that exports projections; else the example" },
} as const;

const list = defineScript({
  meta: {
    name: "list",
    description: "Tell how far each projection is behind, who works on it, and what holds it back",
  },
  args: stack,
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { readProjectionLag } = await import("./lib/event-store/projection/progress.ts");
    const { withStackStore } = await import("./lib/stack/projections.ts");
    return { projections: await withStackStore(loadConfig(args), readProjectionLag) };
  },
  print({ projections }, output) {
    if (projections.length === 0) output.result("no projection was run yet");
    for (const lag of projections) printLag(lag, output);
  },
});

const run = defineScript({
  meta: { name: "run", description: "Run projections until the process is stopped" },
  args: {
    ...chosen,
    once: { type: "boolean", description: "Return once the end of the log is projected" },
    partitions: { type: "string", valueHint: "number", description: "Shares of the streams worked on at once (1)" },
  },
  async run({ args, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { loadProjections, runProjections, withStackStore } = await import("./lib/stack/projections.ts");
    const definitions = await loadProjections(args.module, args.name);
    const ended = await withStackStore(loadConfig(args), (store) =>
      runProjections(store, definitions, {
        stopWhenCaughtUp: args.once === true,
        signal,
        ...(args.partitions === undefined ? {} : { partitions: Number(args.partitions) }),
      }),
    );
    return { projections: ended };
  },
  print({ projections }, output) {
    for (const { name, version, outcome } of projections) output.result(`${name} version ${version}: ${outcome}`);
  },
});

const rebuild = defineScript({
  meta: { name: "rebuild", description: "Build a new version beside the one that serves, and put it in its place" },
  args: chosen,
  async run({ args, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { loadProjections, rebuildProjection, withStackStore } = await import("./lib/stack/projections.ts");
    const definitions = await loadProjections(args.module, args.name);
    return withStackStore(loadConfig(args), async (store) => {
      const rebuilt = [];
      for (const definition of definitions) rebuilt.push(await rebuildProjection(store, definition, signal));
      return { projections: rebuilt };
    });
  },
  print({ projections }, output) {
    for (const { name, version, replacedVersion } of projections) {
      output.result(
        `${name}: version ${version} serves${replacedVersion === null ? "" : ` in place of ${replacedVersion}`}`,
      );
    }
  },
});

const replay = defineScript({
  meta: { name: "replay", description: "Handle the events that were set aside, once the cause is mended" },
  args: chosen,
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { replayDeadLetters } = await import("./lib/event-store/projection/dead-letters.ts");
    const { loadProjections, withStackStore } = await import("./lib/stack/projections.ts");
    const definitions = await loadProjections(args.module, args.name);
    return withStackStore(loadConfig(args), async (store) => {
      const replayed = [];
      for (const definition of definitions) {
        replayed.push({ name: definition.name, ...(await replayDeadLetters(store, definition)) });
      }
      return { projections: replayed };
    });
  },
  print({ projections }, output) {
    for (const { name, replayed, remaining } of projections) {
      output.result(`${name}: ${replayed} replayed, ${remaining} still set aside`);
    }
  },
});

function printLag(lag: ProjectionLag, output: Output): void {
  const { holder } = lag;
  const seconds = formatSeconds(lag.lagSeconds);
  const holderName = holder === null ? null : (holder.gid ?? `pid ${holder.pid} ${holder.applicationName ?? ""}`);
  const rows: readonly (readonly [string, string | number | null])[] = [
    ["projection", `${lag.name} version ${lag.version}, ${lag.status}, partitions: ${lag.partitions}`],
    ["behind", lag.lagEvents === 0 ? "nothing" : `${lag.lagEvents} events, ${seconds}`],
    ["owner", lag.owner ?? "nobody"],
    ["heartbeat", lag.owner === null ? null : (lag.heartbeatAt?.toISOString() ?? null)],
    ["set aside", lag.deadLetters === 0 ? null : lag.deadLetters],
    ["held back by", holderName],
  ];
  output.result(formatTable(rows.filter(([, value]) => value !== null)));
}

export const command = defineScriptGroup({
  meta: { name: "projections", description: "List, run and rebuild projections" },
  subCommands: { list, run, rebuild, replay },
});

if (import.meta.main) await runAsProcess(command);
