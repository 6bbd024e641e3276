// What this checkout costs compared with an earlier commit: `bun run bench commit [rounds] [commit]`, by default HEAD.
// About 15 s per round.
//
// Each version runs in a process of its own, on its own database of one cluster, and they take turns. Each database has
// the schema of its version.
import { spawn } from "node:child_process";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { runProcess } from "../../scripts/lib/process.ts";
import { readSchema } from "../../scripts/lib/schema/source.ts";
import { alternate } from "../support/benchmark.ts";
import type { Cost } from "../support/benchmark-cost.ts";
import { reportIntervals } from "../support/benchmark-report.ts";
import { fillStore } from "../support/fill-store.ts";
import { type BenchCluster, openBenchCluster } from "./cluster.ts";
import { filledEvents, type LoadResult, loadTitles } from "./commit-loads.ts";

interface Version extends Disposable {
  readonly name: string;
  run(load: number): Promise<LoadResult>;
}

/** Prints the ratio of each cost to that of the earlier commit, with its interval. */
export async function benchmarkCommit(rounds: number, commit: string): Promise<void> {
  await using earlier = await checkOut(commit);
  await using cluster = await openBenchCluster();
  await cluster.configure({ synchronous_commit: "off" });
  using ours = startVersion("this checkout", assetsDir, await makeFilledDatabase(cluster, assetsDir));
  using theirs = startVersion(commit, earlier.folder, await makeFilledDatabase(cluster, earlier.folder));
  for (const [load, title] of loadTitles.entries()) {
    const variants = [ours, theirs].map((version) => ({
      name: version.name,
      measure: () => measure(cluster, () => version.run(load)),
    }));
    reportIntervals(title, await alternate(variants, rounds));
  }
}

/** Checks a commit out into a folder, which uses the packages of this checkout. */
async function checkOut(commit: string): Promise<AsyncDisposable & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-bench-"));
  const worktree = async (...words: string[]) => {
    const { exitCode, stderr } = await runProcess("git", ["-C", assetsDir, "worktree", ...words]);
    if (exitCode !== 0) throw new Error(stderr);
  };
  await worktree("add", "--detach", folder, commit);
  await symlink(join(assetsDir, "node_modules"), join(folder, "node_modules"));
  return {
    folder,
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true });
      await worktree("prune");
    },
  };
}

async function makeFilledDatabase(cluster: BenchCluster, folder: string): Promise<ConnectionTarget> {
  const { administrator, application } = await cluster.makeDatabase(await readSchema(join(folder, "sql")));
  await using admin = openConnection(administrator);
  await fillStore(admin.sql, filledEvents);
  await admin.sql`vacuum (analyze)`;
  return application;
}

function startVersion(name: string, folder: string, server: ConnectionTarget): Version {
  const program = join(assetsDir, "tests/bench/commit-loads.ts");
  const child = spawn(process.execPath, [program, folder, JSON.stringify(server)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    name,
    async run(load) {
      child.stdin.write(`${load}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error(`${name} ended`);
      return JSON.parse(value);
    },
    [Symbol.dispose]: () => child.stdin.end(),
  };
}

async function measure({ meter }: BenchCluster, run: () => Promise<LoadResult>): Promise<Cost> {
  let result: LoadResult | undefined;
  const cost = await meter.measure(async () => {
    result = await run();
    return result.events;
  });
  return { ...cost, clientMicroseconds: (result?.clientMicroseconds ?? 0) / (result?.events ?? 0) };
}
