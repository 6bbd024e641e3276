import assert from "node:assert/strict";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import type { FaultProxy } from "./fault-proxy.ts";
import type { StartedScript } from "./run-script.ts";
import { bootstrapTestStack, type TestStack } from "./stack.ts";

/** How an append ended, as the caller saw it: taken back by the caller itself, or `lost` with an unknown outcome. */
export type AppendOutcome = "stored" | "taken-back" | "lost";

/** An append as the caller saw it. */
export interface SeenAppend {
  readonly eventIds: readonly string[];
  /** The counter that its transaction increments; null without a transaction of the caller. */
  readonly counter: string | null;
  readonly outcome: AppendOutcome;
}

/** What `fixtures/session-chaos.ts` saw. */
export interface ChaosReport {
  readonly appends: readonly SeenAppend[];
  /** Ids of the events of the log in the order in which the subscription delivered them. */
  readonly delivered: readonly string[];
  /** Results and errors that no caller should ever see. */
  readonly wrong: readonly string[];
}

/** A table that transactions count in; created as the administrator. */
export async function createCounters(target: ConnectionTarget): Promise<void> {
  await using admin = openConnection(target);
  await admin.sql.unsafe(`
    create table command_model.chaos_counter (name text primary key, total integer not null);
    grant select, insert, update on command_model.chaos_counter to public;
  `);
}

/** A program that uses the server through the proxy, and what faults are injected with. */
export interface Disturbed {
  readonly stack: TestStack;
  readonly proxy: FaultProxy;
  readonly program: StartedScript;
  readonly login: string;
}

/** Injects every kind of fault once, in random order, while single connections are cut all the time. */
export async function disturb(disturbed: Disturbed): Promise<void> {
  const cutting = new AbortController();
  const cuts = cutUntil(disturbed, cutting.signal);
  try {
    for (const fault of shuffled(faults)) {
      await fault(disturbed);
      await sleep(random(300));
    }
    // Some losses must not be followed by anything that could wake up a connection that hangs.
    await terminateSessions(disturbed);
  } finally {
    cutting.abort();
    await cuts;
  }
}

type Fault = (disturbed: Disturbed) => Promise<void>;

const faults: readonly Fault[] = [
  restartServer("SIGINT"),
  restartServer("SIGQUIT"),
  restartServer("SIGKILL"),
  terminateSessions,
  terminateSessions,
  suspendSessions,
  suspendProgram,
];

/** Fast, immediate, or a crash. */
function restartServer(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): Fault {
  return async ({ stack }) => {
    const server = await findPostmaster(stack.dataDir);
    assert.equal(server.state, "running");
    process.kill(server.pid, signal);
    while (isAlive(server.pid)) await sleep(5);
    await sleep(random(200));
    await bootstrapTestStack(stack.stackDir);
  };
}

async function terminateSessions({ stack, login }: Disturbed): Promise<void> {
  await using admin = openConnection(await stack.administrator());
  for (let count = 0; count < 10; count++) {
    await admin.sql`
      select pg_terminate_backend(pid) from pg_stat_activity where usename = ${login} order by random() limit 2`;
    await sleep(random(40));
  }
}

async function suspendSessions({ stack, login }: Disturbed): Promise<void> {
  await using admin = openConnection(await stack.administrator());
  const sessions = await admin.sql<{ pid: number }[]>`
    select pid from pg_stat_activity where usename = ${login} order by random() limit 3`;
  for (const { pid } of sessions) signalSession(pid, "SIGSTOP");
  await sleep(200 + random(300));
  for (const { pid } of sessions) signalSession(pid, "SIGCONT");
}

function signalSession(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The session has ended.
  }
}

async function suspendProgram({ program, proxy }: Disturbed): Promise<void> {
  program.kill("SIGSTOP");
  proxy.cutOne("now");
  await sleep(200 + random(500));
  program.kill("SIGCONT");
}

const moments = ["now", "client", "server"] as const;

async function cutUntil({ proxy }: Disturbed, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    proxy.cutOne(moments[random(moments.length)] ?? "now");
    await sleep(random(60));
  }
}

/** Asserts that a program saw neither more nor less than what is stored. */
export async function checkReport(sql: Sql, report: ChaosReport): Promise<void> {
  assert.deepEqual(report.wrong, []);
  const rows = await sql<{ id: string }[]>`
    select event_id::text as id from event_store.domain_event order by global_position`;
  const log = rows.map(({ id }) => id);
  assert.deepEqual(report.delivered, log, "the subscription delivers each event once, in order");
  const stored = new Set(log);
  const counted = new Map<string, number>();
  for (const append of report.appends) {
    const found = append.eventIds.filter((id) => stored.has(id)).length;
    const expected = { stored: [append.eventIds.length], "taken-back": [0], lost: [0, append.eventIds.length] };
    assert.ok(expected[append.outcome].includes(found), `${JSON.stringify(append)}: ${found} of its events are stored`);
    if (append.counter !== null && found > 0) counted.set(append.counter, (counted.get(append.counter) ?? 0) + 1);
  }
  for (const [name, total] of counted) {
    const [row] = await sql`select total from command_model.chaos_counter where name = ${name}`;
    assert.equal(row?.["total"], total, `${name} counts the committed transactions`);
  }
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .toSorted((one, other) => one.place - other.place)
    .map(({ item }) => item);
}

/** @returns an integer from 0, below the bound */
export function random(below: number): number {
  return Math.floor(Math.random() * below);
}
