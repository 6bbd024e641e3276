// How soon a wait ends once PostgreSQL is usable: `bun run bench wait [rounds]`.
//
// It compares wait-for with the usual alternatives: shell loops around pg_isready and psql, if PostgreSQL's client is
// installed. Each waits for a server that is being started. It counts as usable from the first login that a tight loop
// in this process achieves. The aim is a median of 50 ms.
import { spawn } from "node:child_process";
import { accessSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type ConnectionTarget, connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { alternate, type Variant } from "../support/benchmark.ts";
import { reportTimes } from "../support/benchmark-process.ts";
import { locateDeno } from "../support/deno.ts";
import { bootstrapTestStack, openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";

/** Prints the milliseconds between the first possible login and the end of each wait. */
export async function benchmarkWait(rounds: number): Promise<void> {
  await using stack = await withCluster();
  const target = await stack.application();
  const variants = waiters(target).map(
    ({ name, command }): Variant<number> => ({ name, measure: () => reactionMs(stack, target, command) }),
  );
  reportTimes(await alternate(variants, rounds));
}

interface Waiter {
  readonly name: string;
  readonly command: readonly string[];
}

function waiters(target: ConnectionTarget): Waiter[] {
  const url = connectionUrl(target);
  const isReady = `pg_isready -q -h ${target.host} -p ${target.port}`;
  const shell = (pause: string, test: string) => ["sh", "-c", `until ${test}; do sleep ${pause}; done`];
  const all: Waiter[] = [
    { name: "wait-for, Bun", command: [process.execPath, "scripts/wait-for.ts", "--quiet", url] },
    { name: "wait-for, Deno", command: [locateDeno(), "run", "-q", "-A", "scripts/wait-for.ts", "--quiet", url] },
    { name: "pg_isready every 0.1 s", command: shell("0.1", isReady) },
    { name: "pg_isready every 1 s", command: shell("1", isReady) },
    { name: "psql every 1 s", command: shell("1", `psql -XAtqc 'select 1' '${url}' >/dev/null 2>&1`) },
  ];
  return all.filter(({ command }) => !/pg_isready|psql/.test(command.join(" ")) || hasProgram("pg_isready"));
}

function hasProgram(name: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name));
      return true;
    } catch {
      return false;
    }
  });
}

async function reactionMs(stack: TestStack, target: ConnectionTarget, command: readonly string[]): Promise<number> {
  await stopStack(await openTestStack(stack.stackDir), silentRun);
  const [program, ...args] = command;
  const waiter = spawn(program as string, args, { cwd: assetsDir, stdio: "ignore" });
  const ended = new Promise<number>((resolve) => waiter.once("exit", () => resolve(performance.now())));
  await randomPause();
  const [usableAt] = await Promise.all([firstLogin(target), bootstrapTestStack(stack.stackDir)]);
  return Math.max((await ended) - usableAt, 0);
}

/** The start must meet a waiter at a random moment of its pause, after half a second, when every waiter is waiting. */
async function randomPause(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, 500 + Math.random() * 1000);
  await promise;
}

async function firstLogin(target: ConnectionTarget): Promise<number> {
  for (;;) {
    await using connection = openConnection(target);
    try {
      await connection.sql`select 1`;
      return performance.now();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}
