// Benchmarks for developers: `bun run bench <kind> [rounds]`. Nothing else runs them.
//
// Each kind works in temporary folders, which it removes, and takes some minutes on an otherwise idle machine. It
// prints tables and asserts nothing: the lines that start with `aim:` say which aims are met.
//
//   startup   how long the scripts take, as whole processes
//   append    what an event costs to store: 1, 10 and 100 per call, and with 32 concurrent callers
//   read      what an event costs to read: in a stream of 1,000, and in the whole log
//   project   what an event costs a projection that catches up with 200,000 events
//   wait      how soon wait-for returns once PostgreSQL is usable, compared with pg_isready in a loop
//   archive   what backup and restore of 1,000,000 events cost, compared with pg_dump and pg_restore
//   schema    what 100 migrations and a reset cost, compared with node-pg-migrate and psql
//   commit    what this checkout costs compared with an earlier commit, the third word
//   testing   what a store per test costs, with node --test; the second word is the number of tests, by default 500
//   scale     what an event costs to store in a store of 5,000,000, compared with an empty one
//
// Variants alternate within one run; quote medians and ratios. The server's CPU time is measured on Linux only.
import process from "node:process";
import { defaultRounds } from "../support/benchmark.ts";

/** What `testing` counts instead of rounds. */
const defaultTests = 500;

type Benchmark = (rounds: number, commit: string) => Promise<void>;

const kinds: Readonly<Record<string, () => Promise<Benchmark>>> = {
  startup: async () => (await import("./startup.ts")).benchmarkStartup,
  append: async () => (await import("./append.ts")).benchmarkAppend,
  read: async () => (await import("./read.ts")).benchmarkRead,
  project: async () => (await import("./project.ts")).benchmarkProject,
  wait: async () => (await import("./wait.ts")).benchmarkWait,
  archive: async () => (await import("./archive.ts")).benchmarkArchive,
  schema: async () => (await import("./schema.ts")).benchmarkSchema,
  commit: async () => (await import("./commit.ts")).benchmarkCommit,
  testing: async () => (await import("./testing.ts")).benchmarkTesting,
  scale: async () => (await import("./scale.ts")).benchmarkScale,
};

function defaultRoundsOf(kind: string): number {
  return kind === "testing" ? defaultTests : defaultRounds;
}

async function main(words: readonly string[]): Promise<void> {
  const [kind = "", roundsText = String(defaultRoundsOf(kind)), commit = "HEAD", ...rest] = words;
  const load = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  const rounds = Number(roundsText);
  if (load === undefined || !Number.isSafeInteger(rounds) || rounds < 1 || rest.length > 0) {
    console.error(`usage: bun run bench ${Object.keys(kinds).join("|")} [rounds] [commit]`);
    process.exitCode = 2;
    return;
  }
  const benchmark = await load();
  await benchmark(rounds, commit);
}

await main(process.argv.slice(2));
