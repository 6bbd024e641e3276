// Benchmarks, a developer's command that nothing else runs: `bun run bench <kind> [rounds]`.
//
// Each kind makes what it needs in temporary folders, takes minutes of a machine that should do nothing else, prints
// tables, and removes everything. It asserts nothing: the lines that begin with `aim:` say what is met.
//
//   startup   how long the scripts take, as whole processes
//   append    what an event costs to store: one, ten and a hundred a call, and 32 callers at once
//   read      what an event costs to read: a stream of 1,000, and the whole log
//   project   what an event costs a projection that catches up with 200,000
//   wait      how soon wait-for ends once PostgreSQL is usable, beside pg_isready in a loop
//   archive   what a backup and a restore of 1,000,000 events cost, against pg_dump and pg_restore
//   scale     what an event costs to store in a store of 5,000,000, against an empty one
//
// Variants alternate within one run; quote the medians and ratios. Processor time of the server is known on Linux only.
import process from "node:process";
import { defaultRounds } from "../support/benchmark.ts";

type Benchmark = (rounds: number) => Promise<void>;

const kinds: Readonly<Record<string, () => Promise<Benchmark>>> = {
  startup: async () => (await import("./startup.ts")).benchmarkStartup,
  append: async () => (await import("./append.ts")).benchmarkAppend,
  read: async () => (await import("./read.ts")).benchmarkRead,
  project: async () => (await import("./project.ts")).benchmarkProject,
  wait: async () => (await import("./wait.ts")).benchmarkWait,
  archive: async () => (await import("./archive.ts")).benchmarkArchive,
  scale: async () => (await import("./scale.ts")).benchmarkScale,
};

async function main([kind = "", roundsText = String(defaultRounds), ...rest]: readonly string[]): Promise<void> {
  const load = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  const rounds = Number(roundsText);
  if (load === undefined || !Number.isSafeInteger(rounds) || rounds < 1 || rest.length > 0) {
    console.error(`usage: bun run bench ${Object.keys(kinds).join("|")} [rounds]`);
    process.exitCode = 2;
    return;
  }
  const benchmark = await load();
  await benchmark(rounds);
}

await main(process.argv.slice(2));
