// What migrations cost, as whole processes: `bun run bench schema [rounds]`.
//
// 100 migrations of a project, and an apply that finds nothing to do: ours, node-pg-migrate (which is installed into a
// temporary folder) and psql -1 -f per file (if the programs of tests/support/fetch-pg-dump.sh are there). psql has no
// ledger: a login that runs nothing is the lower bound of an apply without work. Each measurement has a database of its
// own, a copy of a bootstrapped one. Then a reset, against dropping the database and bootstrapping it.
//
// Aims: less time than both; on two quiet cores, an apply without work < 150 ms and a reset < 500 ms on Bun.
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type ConnectionTarget, connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { runProcess } from "../../scripts/lib/process.ts";
import { alternate, type Measured, median, type Variant } from "../support/benchmark.ts";
import { locateDeno } from "../support/deno.ts";
import { programOf, whyNoNativeDump } from "../support/native-dump.ts";
import { locateNode } from "../support/node.ts";
import { denoPermissions } from "../support/runtime.ts";
import { type BenchCluster, openBenchCluster } from "./cluster.ts";
import { type MigrationFolder, writeMigrations } from "./migrations.ts";
import { measureProcess } from "./process-cost.ts";

const fileCount = 100;
const runtimes = {
  Bun: [process.execPath],
  Deno: [locateDeno(), "run", "-q", ...denoPermissions],
} as const;

interface MigrationCost {
  readonly milliseconds: number;
  readonly clientMilliseconds: number;
  /** NaN without /proc. */
  readonly serverMilliseconds: number;
}

/** A way to apply the files. */
interface Tool {
  readonly name: string;
  /** Whether it knows what was applied, and so can find nothing to do. */
  readonly hasLedger: boolean;
  command(target: ConnectionTarget): readonly string[];
  env(target: ConnectionTarget): Readonly<Record<string, string>>;
}

interface Bench {
  readonly cluster: BenchCluster;
  readonly folder: MigrationFolder;
}

/** Prints time and CPU time of each tool, and of a reset. */
export async function benchmarkSchema(rounds: number): Promise<void> {
  await using cluster = await openBenchCluster();
  await using folder = await writeMigrations(fileCount);
  await using packages = await installNodePgMigrate();
  const bench = { cluster, folder };
  const tools = [...ourTools(bench), ...nodePgMigrate(packages.dir, folder), ...psqlTools(folder)];
  report(
    `${fileCount} files`,
    await alternate(
      tools.map((tool) => applyAll(bench, tool)),
      rounds,
    ),
  );
  const idle = await Promise.all(tools.filter(({ hasLedger }) => hasLedger).map((tool) => applyNothing(bench, tool)));
  report("nothing to do", await alternate([...idle, ...(await bareLogin(bench))], rounds));
  if (existsSync(script("reset"))) report("reset", await alternate(resetVariants(bench), rounds));
  else console.log("skipped: reset (this checkout has no such command)");
}

function ourTools({ cluster, folder }: Bench): Tool[] {
  return Object.entries(runtimes).map(([runtime, words]) => ({
    name: `schema apply, ${runtime}`,
    hasLedger: true,
    command: ({ database }) => [...words, script("schema"), "apply", "--quiet", "--database", database],
    env: () => ourEnv(cluster, folder),
  }));
}

function ourEnv({ stackDir }: BenchCluster, { dir }: MigrationFolder): Record<string, string> {
  return { CQRS_STACK_DIR: stackDir, CQRS_SQL_DIR: dir };
}

function script(name: string): string {
  return join(assetsDir, `scripts/${name}.ts`);
}

/** By default, it applies all files in one transaction. Bun runs it with the same start-up time as our command. */
function nodePgMigrate(packages: string, { dir }: MigrationFolder): Tool[] {
  const program = join(packages, "node_modules/node-pg-migrate/bin/node-pg-migrate.js");
  const up = [program, "up", "--no-verbose", "--migrations-dir", join(dir, "migrations")];
  const tool = (name: string, command: readonly string[]): Tool => ({
    name: `node-pg-migrate, ${name}`,
    hasLedger: true,
    command: () => command,
    env: (target) => ({ DATABASE_URL: connectionUrl(target) }),
  });
  return [
    tool("Node", [locateNode(), ...up]),
    tool("Bun", [...runtimes.Bun, ...up]),
    tool("Node, a transaction per file", [locateNode(), ...up, "--no-single-transaction"]),
  ];
}

/** Not a dependency: only this benchmark needs it, and it brings 20 packages. */
async function installNodePgMigrate(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-bench-npm-"));
  await writeFile(
    join(dir, "package.json"),
    JSON.stringify({ dependencies: { "node-pg-migrate": "9.0.0", pg: "8.23.1" } }),
  );
  const { exitCode, stderr } = await runProcess(process.execPath, ["install", "--cwd", dir]);
  if (exitCode !== 0) throw new Error(stderr);
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

function psqlTools({ paths }: MigrationFolder): Tool[] {
  const missing = whyNoNativeDump();
  if (missing !== undefined) {
    console.log(`skipped: psql (${missing})`);
    return [];
  }
  const psql = [programOf(16, "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-1"];
  const loop = 'for file in "$@"; do "$0" -qX -v ON_ERROR_STOP=1 -1 -f "$file" || exit 1; done';
  const tool = (name: string, command: readonly string[]): Tool => ({
    name,
    hasLedger: false,
    command: () => command,
    env: psqlEnv,
  });
  return [
    tool("psql -1 -f per file", ["sh", "-c", loop, psql[0] as string, ...paths]),
    tool("psql -1, all files at once", [...psql, ...paths.flatMap((path) => ["-f", path])]),
  ];
}

function psqlEnv({ host, port, user, password = "", database }: ConnectionTarget): Record<string, string> {
  return { PGHOST: host, PGPORT: `${port}`, PGUSER: user, PGPASSWORD: password, PGDATABASE: database };
}

function applyAll(bench: Bench, tool: Tool): Variant<MigrationCost> {
  return {
    name: tool.name,
    async measure() {
      const { administrator } = await bench.cluster.makeDatabase("ours");
      const cost = await measure(bench, () => run(tool, administrator));
      await dropDatabase(administrator);
      return cost;
    },
  };
}

async function applyNothing(bench: Bench, tool: Tool): Promise<Variant<MigrationCost>> {
  const { administrator } = await bench.cluster.makeDatabase("ours");
  run(tool, administrator);
  return { name: tool.name, measure: () => measure(bench, () => run(tool, administrator)) };
}

async function bareLogin(bench: Bench): Promise<Variant<MigrationCost>[]> {
  if (whyNoNativeDump() !== undefined) return [];
  const { administrator } = await bench.cluster.makeDatabase("ours");
  const login: Tool = {
    name: "psql -c ''",
    hasLedger: false,
    command: () => [programOf(16, "psql"), "-qX", "-c", ""],
    env: psqlEnv,
  };
  return [{ name: login.name, measure: () => measure(bench, () => run(login, administrator)) }];
}

function run(tool: Tool, target: ConnectionTarget): number {
  return measureProcess(tool.command(target), tool.env(target)).cpuSeconds;
}

/** @param work returns the seconds of CPU time of its processes */
async function measure({ cluster }: Bench, work: () => Promise<number> | number): Promise<MigrationCost> {
  let clientSeconds = 0;
  const { eventsPerSecond, serverMicroseconds } = await cluster.meter.measure(async () => {
    clientSeconds = await work();
    return 1;
  });
  return {
    milliseconds: 1000 / eventsPerSecond,
    clientMilliseconds: clientSeconds * 1000,
    serverMilliseconds: serverMicroseconds / 1000,
  };
}

async function dropDatabase({ database, ...server }: ConnectionTarget): Promise<void> {
  await using maintenance = openConnection({ ...server, database: "postgres" });
  await maintenance.sql.unsafe(`drop database ${database} with (force)`);
}

/** Both leave the cluster's own database with the schema and no data. The first round builds the template. */
function resetVariants(bench: Bench): Variant<MigrationCost>[] {
  const { cluster, folder } = bench;
  const command = (runtime: keyof typeof runtimes, name: string, ...flags: readonly string[]) =>
    measureProcess([...runtimes[runtime], script(name), ...flags], ourEnv(cluster, folder)).cpuSeconds;
  const again = async (runtime: keyof typeof runtimes) => {
    await dropDatabase(cluster.administrator);
    return command(runtime, "bootstrap");
  };
  return (["Bun", "Deno"] as const).flatMap((runtime) => [
    {
      name: `reset --no-backup, ${runtime}`,
      measure: () => measure(bench, () => command(runtime, "reset", "--no-backup", "--yes")),
    },
    { name: `drop and bootstrap, ${runtime}`, measure: () => measure(bench, () => again(runtime)) },
  ]);
}

const columns = [
  ["milliseconds", "ms"],
  ["clientMilliseconds", "client CPU ms"],
  ["serverMilliseconds", "server CPU ms"],
] as const;

/** Ratios are to the first variant: more than 1 means that this one is faster. */
function report(title: string, measured: readonly Measured<MigrationCost>[]): void {
  const [ours] = measured;
  const width = Math.max(...measured.map(({ name }) => name.length));
  console.log(`\n${title}: medians of ${ours?.measures.length} rounds; × is the ratio to ${ours?.name}, per round`);
  console.log(`${"".padEnd(width)} ${columns.map(([, heading]) => heading.padStart(14).padEnd(22)).join("")}`);
  for (const { name, measures } of measured) {
    const figures = columns.map(([figure]) => {
      const value = median(measures.map((cost) => cost[figure])).toFixed(0);
      const ratios = measures.map((cost, round) => cost[figure] / (ours?.measures[round]?.[figure] ?? Number.NaN));
      return `${value.padStart(14)} ${ratioText(median(ratios)).padEnd(7)}`;
    });
    console.log(`${name.padEnd(width)} ${figures.join("")}`);
  }
}

/** The server's time is counted in steps of 10 ms, and may be 0. */
function ratioText(ratio: number): string {
  return Number.isFinite(ratio) ? `${ratio.toFixed(2)}×` : "-";
}
