import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { random } from "../support/chaos.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, orderPlaced } from "../support/event-store.ts";
import { type FaultProxy, openFaultProxy } from "../support/fault-proxy.ts";
import { checkJournal, eventually, journal, readDeadLetters } from "../support/projection.ts";
import { type ScriptRun, type StartedScript, startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";

const names = ["chaos_1", "other_1", "chaos_4"];
/** How long faults are injected into each step of a deploy, at most. What they leave behind must then complete. */
const faultsMs = 1_500;
/** How long a program may take to stop. */
const stopMs = 60_000;

test("however sessions and programs end during a deploy and its way back, each event takes effect once", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await using database = await withDatabase();
    await using proxy = await openFaultProxy(database.application.port);
    await using store = openEventStore({ ...database.application, logger: false });
    await using load = appendInBackground(store);
    const start = (version: number) => startRuns(database, proxy, version);
    const deploy = async (version: number): Promise<[StartedScript, StartedScript]> => {
      const programs: [StartedScript, StartedScript] = [start(version), start(version)];
      await Promise.all(programs.map((program) => program.saw("started")));
      await injectFaults(database, proxy);
      await eventually(async () => (await countServing(store, version)) === names.length);
      return programs;
    };
    const old = await deploy(1);
    const next = await deploy(2);
    // The way back: the old version projects nothing, so its code is deployed as a new version.
    const back = start(1);
    assert.deepEqual(endsOf(await back.ended), outcomes("retired"));
    for (const program of old) assert.deepEqual(endsOf(await program.ended), outcomes("retired"));
    const [killed, stopped] = await deploy(3);
    for (const program of next) assert.deepEqual(endsOf(await program.ended), outcomes("retired"));
    killed.kill("SIGKILL");
    await killed.ended;
    await load.stop();
    assert.deepEqual(endsOf(await stop(stopped)), outcomes("stopped"));
    for (const name of names) {
      await project(store, { ...journal(name, 3), stopWhenCaughtUp: true });
      await checkJournal(store, name);
      assert.deepEqual(await readDeadLetters(store, name), []);
    }
  }
});

function outcomes(outcome: string): string[] {
  return names.map((name) => `${name} ${outcome}`);
}

/** Starts a program that runs the projections, through the proxy. */
function startRuns(database: TestDatabase, proxy: FaultProxy, version: number): StartedScript {
  const target = JSON.stringify({ ...database.application, port: proxy.port });
  return startProgram("tests/support/fixtures/projection-chaos.ts", [target, JSON.stringify(names), `${version}`]);
}

/** @returns how the projections of a program ended; what it wrote besides its log would be an uncaught error */
function endsOf({ exitCode, stdout, stderr }: ScriptRun): string[] {
  const others = stderr.split("\n").filter((line) => !line.startsWith("cqrs-postgres: "));
  assert.deepEqual({ exitCode, others }, { exitCode: 0, others: ["started", ""] });
  return JSON.parse(stdout);
}

/** Stops a program, and kills it if that takes too long. */
async function stop(program: StartedScript): Promise<ScriptRun> {
  program.kill("SIGTERM");
  const timer = setTimeout(() => program.kill("SIGKILL"), stopMs);
  const run = await program.ended;
  clearTimeout(timer);
  return run;
}

async function countServing({ sql }: EventStore, version: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from read_model.projection_version
    where version = ${version} and status = 'serving'`;
  return row?.count ?? 0;
}

/** Appends until it is stopped. */
function appendInBackground(store: EventStore) {
  const orders = Array.from({ length: 12 }, newOrder);
  const ended = new AbortController();
  const appending = (async () => {
    while (!ended.signal.aborted) {
      const chosen = orders.filter(() => random(3) === 0);
      await Promise.all(chosen.map((order) => appendEvents<OrderEvent>(store, order, [orderPlaced])));
      await sleep(30 + random(100));
    }
  })();
  const stop = () => {
    ended.abort();
    return appending;
  };
  return { stop, [Symbol.asyncDispose]: stop };
}

const moments = ["now", "client", "server"] as const;

/** Cuts connections of the proxy, and terminates sessions of the projections. */
async function injectFaults({ administrator, application }: TestDatabase, proxy: FaultProxy): Promise<void> {
  await using admin = openConnection(administrator);
  const endsAt = Date.now() + random(faultsMs);
  while (Date.now() < endsAt) {
    proxy.cutOne(moments[random(moments.length)] ?? "now");
    await sleep(random(100));
    if (random(3) > 0) continue;
    await admin.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = ${application.database} and application_name = 'chaos' order by random() limit 3`;
  }
}
