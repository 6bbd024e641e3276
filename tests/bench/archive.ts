// Measures the cost of archives: `bun run bench archive [rounds]`, with CQRS_BENCH_EVENTS events (default 1,000,000).
//
// Each variant is a whole process: backup and restore on both runtimes; pg_dump and pg_restore with the same codec and
// level, if version 16 or newer is installed; and a bare COPY of the largest table as the lower bound. Then incremental
// archives with a growing share of new events. A restore checks the invariants, which is also measured on its own.
// Targets: a backup takes at most as long as pg_dump; a restore at most as long as pg_restore without its invariants, and
// 1.1 times as long with them; peak memory is at most 200 MB on Bun and 250 MB on Deno, and does not grow from 1,000,000
// to 5,000,000 events; an incremental archive costs in proportion to what is new.
import { spawnSync } from "node:child_process";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { compressionLevel } from "../../scripts/lib/archive/segment.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { readViolations } from "../../scripts/lib/schema/invariants.ts";
import { alternate, type Measured, median, type Variant } from "../support/benchmark.ts";
import { locateDeno } from "../support/deno.ts";
import { fillStore } from "../support/fill-store.ts";
import { denoPermissions } from "../support/runtime.ts";
import { bootstrapTestStack, makeTestStack, type TestStack } from "../support/stack.ts";
import { measureProcess, type ProcessCost } from "./process-cost.ts";

interface ArchiveCost extends ProcessCost {
  readonly archiveMegabytes: number;
}

const runtimes: Readonly<Record<string, readonly string[]>> = {
  bun: [process.execPath],
  deno: [locateDeno(), "run", "-q", ...denoPermissions],
};
const events = Number(process.env["CQRS_BENCH_EVENTS"] || 1_000_000);

/** Prints time, memory and size of backups and restores. */
export async function benchmarkArchive(rounds: number): Promise<void> {
  await using stack = await makeTestStack();
  await bootstrapTestStack(stack.stackDir);
  const target = await stack.administrator();
  {
    await using administrator = openConnection(target);
    await fillStore(administrator.sql, events);
    await administrator.sql`checkpoint`;
  }
  const dumpFile = join(stack.stackDir, "pg_dump.dump");
  console.log(`${events} events`);
  report("backup", await alternate(backupVariants(stack, target, dumpFile), rounds));
  report("restore", withoutInvariants(await alternate(restoreVariants(stack, target, dumpFile), rounds)));
  await reportIncrements(stack, target, rounds);
}

/** New events, in percent of those in the full archive. */
const newPercents = [0, 1, 5, 20];

async function reportIncrements(stack: TestStack, target: ConnectionTarget, rounds: number): Promise<void> {
  const folder = join(stack.stackDir, "increments");
  const full = await measureBackup(stack, target, folder);
  let stored = events;
  for (const percent of newPercents) {
    const wanted = events + Math.floor((events * percent) / 1_000) * 10;
    {
      await using administrator = openConnection(target);
      await fillStore(administrator.sql, wanted - stored, stored);
    }
    stored = wanted;
    const measure = () => measureBackup(stack, target, folder, "--incremental");
    report(`incremental, ${percent} % new`, [
      { name: "full archive", measures: [full] },
      ...(await alternate([{ name: "incremental archive", measure }], rounds)),
    ]);
  }
}

/** Backs up on Bun; the archive's size is the growth of the folder. */
async function measureBackup(stack: TestStack, target: ConnectionTarget, folder: string, ...flags: string[]) {
  const before = await megabytes(folder).catch(() => 0);
  const cost = run([...script("bun", "backup"), "--to", folder, ...flags], stack, target);
  return { ...cost, archiveMegabytes: (await megabytes(folder)) - before };
}

function backupVariants(stack: TestStack, target: ConnectionTarget, dumpFile: string): Variant<ArchiveCost>[] {
  const folder = join(stack.stackDir, "archives");
  const backUp = async (runtime: string) => {
    await rm(folder, { recursive: true, force: true });
    const cost = run([...script(runtime, "backup"), "--to", folder], stack, target);
    return { ...cost, archiveMegabytes: await megabytes(folder) };
  };
  const zstd = `zstd -q -${compressionLevel}`;
  const dump = hasZstd()
    ? ["pg_dump", "-Fc", `--compress=zstd:${compressionLevel}`, "-f", dumpFile, target.database]
    : ["sh", "-c", `pg_dump -Fc --compress=none "$1" | ${zstd} -f -o "$2"`, "sh", target.database, dumpFile];
  const copy = ["psql", "-qXc", "copy event_store.domain_event to stdout", "-o", "/dev/null", target.database];
  return [
    ...Object.keys(runtimes).map((runtime) => ({ name: `backup on ${runtime}`, measure: () => backUp(runtime) })),
    ...postgresVariant("pg_dump -Fc", "pg_dump", async () => {
      const cost = run(dump, stack, target);
      return { ...cost, archiveMegabytes: await megabytes(dumpFile) };
    }),
    ...postgresVariant("bare COPY to /dev/null", "psql", async () => run(copy, stack, target)),
  ];
}

function restoreVariants(stack: TestStack, target: ConnectionTarget, dumpFile: string): Variant<ArchiveCost>[] {
  const from = ["latest", "--from", join(stack.stackDir, "archives"), "--into", "restored"];
  const restore = hasZstd()
    ? ["pg_restore", "-d", "restored", dumpFile]
    : ["sh", "-c", 'zstd -qdc "$1" | pg_restore -d restored', "sh", dumpFile];
  const prepare = async (...statements: readonly string[]) => {
    await using administrator = openConnection({ ...target, database: "postgres" });
    await administrator.sql.unsafe("drop database if exists restored with (force)");
    for (const statement of statements) await administrator.sql.unsafe(statement);
    await administrator.sql`checkpoint`;
  };
  return [
    ...Object.keys(runtimes).map((runtime) => ({
      name: `${restoreOn}${runtime}`,
      async measure() {
        await prepare();
        return run([...script(runtime, "restore"), ...from], stack, target);
      },
    })),
    { name: invariants, measure: () => measureInvariants({ ...target, database: "restored" }) },
    ...postgresVariant("pg_restore", "pg_restore", async () => {
      await prepare("create database restored template template0");
      return run(restore, stack, target);
    }),
  ];
}

const restoreOn = "restore on ";
const invariants = "invariants alone";

/** Checks the invariants in the database that was restored last, as each restore does. */
async function measureInvariants(target: ConnectionTarget): Promise<ArchiveCost> {
  await using administrator = openConnection(target, { max: 2 });
  const started = performance.now();
  await readViolations(administrator.sql);
  const seconds = (performance.now() - started) / 1000;
  return { seconds, cpuSeconds: 0, peakMegabytes: 0, archiveMegabytes: 0 };
}

/** Adds what each restore would take without its invariants, which pg_restore does not check. */
function withoutInvariants(measured: readonly Measured<ArchiveCost>[]): Measured<ArchiveCost>[] {
  const shares = measured.find(({ name }) => name === invariants)?.measures ?? [];
  const restores = measured.filter(({ name }) => name.startsWith(restoreOn));
  const reduced = restores.map(({ name, measures }) => ({
    name: `  ${name.slice(restoreOn.length)} without invariants`,
    measures: measures.map((cost, round) => ({ ...cost, seconds: cost.seconds - (shares[round]?.seconds ?? 0) })),
  }));
  return [...measured, ...reduced];
}

/** Whether pg_dump was built with zstd. If not, the program `zstd` compresses its output. */
function hasZstd(): boolean {
  const { stderr } = spawnSync("pg_dump", ["--compress=zstd:3", "--host=/nowhere"], { encoding: "utf8" });
  return !(stderr ?? "").includes("does not support");
}

/** A variant that needs one of PostgreSQL's programs; none if that is missing or older than the server. */
function postgresVariant(name: string, program: string, measure: () => Promise<ArchiveCost>): Variant<ArchiveCost>[] {
  const version = spawnSync(program, ["--version"], { encoding: "utf8" }).stdout ?? "";
  if (Number(/ (\d+)/.exec(version)?.[1] ?? 0) >= 16) return [{ name, measure }];
  console.log(`skipped: ${name} (no ${program} of version 16 or newer on the PATH)`);
  return [];
}

function script(runtime: string, name: string): string[] {
  return [...(runtimes[runtime] ?? []), join(assetsDir, `scripts/${name}.ts`)];
}

function run(command: readonly string[], stack: TestStack, target: ConnectionTarget): ArchiveCost {
  const env = {
    CQRS_STACK_DIR: stack.stackDir,
    PGHOST: target.host,
    PGPORT: `${target.port}`,
    PGUSER: target.user,
    PGPASSWORD: target.password,
  };
  // A newer pg_restore sets a parameter that the server does not know, reports that and continues.
  const isDone = (exitCode: number | null, stderr: string) =>
    exitCode === 0 || /errors ignored on restore: 1$/m.test(stderr);
  return { ...measureProcess(command, env, isDone), archiveMegabytes: 0 };
}

async function megabytes(path: string): Promise<number> {
  const stats = await stat(path);
  if (stats.isFile()) return stats.size / 1e6;
  let size = 0;
  for (const name of await readdir(path)) size += await megabytes(join(path, name));
  return size;
}

function report(title: string, measured: readonly Measured<ArchiveCost>[]): void {
  const reference = measured.find(({ name }) => name.startsWith("pg_"));
  const middle = (measures: readonly ArchiveCost[], figure: keyof ArchiveCost) =>
    median(measures.map((cost) => cost[figure]));
  console.log(`\n${title}: medians of ${measured[0]?.measures.length} rounds`);
  for (const { name, measures } of measured) {
    const ratios = measures.map(({ seconds }, round) => seconds / (reference?.measures[round]?.seconds ?? Number.NaN));
    const figures = [
      `${middle(measures, "seconds").toFixed(2)} s`,
      `${median(ratios).toFixed(2)} × ${reference?.name ?? "-"}`,
      `${middle(measures, "cpuSeconds").toFixed(2)} s CPU`,
      `${middle(measures, "peakMegabytes").toFixed(0)} MB peak`,
      `${middle(measures, "archiveMegabytes").toFixed(1)} MB archive`,
    ];
    console.log(`${name.padEnd(28)} ${figures.map((figure) => figure.padStart(20)).join("")}`);
  }
}
