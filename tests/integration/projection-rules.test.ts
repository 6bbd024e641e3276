import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { ProjectionTransaction, ProjectOptions } from "../../scripts/lib/event-store/projection/definition.ts";
import { type WaitUntilOptions, waitUntil } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { removeProjection } from "../../scripts/lib/event-store/projection/remove.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";
import { eventually, runInBackground } from "../support/projection.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { testRounds } from "../support/runtime.ts";

let database: TestDatabase;
let store: EventStore;
const log = recordingLogger();
before(async () => {
  database = await withDatabase();
  store = openTestStore(database, { logger: log.logger });
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function append(...types: readonly string[]): Promise<void> {
  for (const type of types) await appendEvents(store, newOrder(), [{ type, data: {} }]);
}

/** A projection with one table, which has a column named after the version. */
function counting(name: string, version = 1): ProjectOptions {
  return {
    name,
    version,
    events: [name],
    stopWhenCaughtUp: true,
    retryPauseMs: 1,
    relations: {
      names: [name],
      create: (tx) => tx`create table ${tx(name)} (id bigserial primary key, ${tx(`column_${version}`)} uuid)`,
    },
    handle: async (events, tx) => {
      for (const { id } of events) await tx`insert into ${tx(name)} (${tx(`column_${version}`)}) values (${id})`;
    },
  };
}

async function countRows(name: string): Promise<number> {
  const [row] = await store.sql<{ count: number }[]>`
    select count(*)::integer as count from read_model.${store.sql(name)}`;
  return row?.count ?? 0;
}

const late: readonly (readonly [name: string, code: (tx: Sql) => Promise<unknown>])[] = [
  ["a missing column", (tx) => tx`insert into late_0 (column_1) values (null)`],
  ["a missing table", (tx) => tx`select from late_1_gone`],
  ["a missing function", (tx) => tx`select no_such_function()`],
];

for (const [index, [name, fail]] of late.entries()) {
  for (const where of ["handle", "refresh"] as const) {
    test(`a replaced version is retired, although ${where} fails because of ${name}`, async () => {
      const table = `late_${index}`;
      const definition = { ...counting(table), name: `${table}_${where}`, events: [table] };
      await store.sql`drop table if exists read_model.${store.sql(table)}`;
      await append(table);
      const [started, swapped] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const failLate = async (tx: Sql) => {
        started.resolve();
        await swapped.promise;
        await fail(tx);
      };
      const code =
        where === "handle"
          ? { handle: (_: unknown, tx: Sql) => failLate(tx) }
          : { handle: async () => {}, refresh: failLate };
      await using old = runInBackground(store, { ...definition, ...code });
      await started.promise;
      await project(store, { ...counting(table, 2), name: definition.name, events: [table] });
      swapped.resolve();
      assert.equal(await old.ended, "retired");
      assert.equal(await countRows(table), where === "handle" ? 1 : 2);
    });
  }
}

test("a retired version that starts again says that it projects nothing", async () => {
  await project(store, counting("again"));
  await project(store, counting("again", 2));
  assert.equal(await project(store, counting("again")), "retired");
  const message = "version 1 of the projection again projects nothing: a later version has replaced it";
  assert.deepEqual(log.reports.at(-1)?.slice(0, 2), ["warn", message]);
});

test("another list of events needs another version, in whatever way it differs", async () => {
  const definition = { ...counting("listed"), events: ["A", "B"] };
  await project(store, definition);
  await project(store, { ...definition, events: ["B", "A", "A"] });
  for (const events of [["A", "B", "C"], ["A"], ["A", "C"], ["a", "b"], ["A,B"]]) {
    await assert.rejects(project(store, { ...definition, events }), (error: Error) => {
      assert.ok(error instanceof InvalidInput);
      assert.match(
        error.message,
        /began with the events "A", "B", but now handles the events "[^:]*": raise its version/,
      );
      return true;
    });
  }
  const { events: _, ...all } = definition;
  await assert.rejects(project(store, all), /began with the events "A", "B", but now handles all events/);
  await assert.rejects(project(store, { ...definition, events: [] }), /must name at least one type/);
  await project(store, { ...all, version: 2 });
  await assert.rejects(project(store, { ...definition, version: 2 }), /began with all events, but now handles/);
});

test("a version of an earlier release adopts its list of events with its next run", async () => {
  const definition = { ...counting("adopted"), events: ["A"] };
  await project(store, definition);
  await store.sql`update read_model.projection_version set events = null where name = 'adopted'`;
  await project(store, { ...definition, events: ["A", "B"] });
  await assert.rejects(project(store, definition), /began with the events "A", "B"/);
});

const qualified: Readonly<Record<string, (tx: Sql) => Promise<unknown>>> = {
  "inserts rows": (tx) => tx`insert into read_model.named (column_1) values (null)`,
  "reads rows": (tx) => tx`select from read_model.named where false`,
  "draws from a sequence": (tx) => tx`select nextval('read_model.named_id_seq')`,
  "locks the table": (tx) => tx`lock table "read_model"."named" in share mode`,
  "uses a view on it": (tx) => tx`select from read_model.named_view limit 1`,
};

for (const [name, use] of Object.entries(qualified)) {
  for (const where of ["handle", "refresh"] as const) {
    test(`a version in the making that ${name} of the serving one in ${where} is refused`, async () => {
      const definition = counting("named");
      await store.sql`drop view if exists read_model.named_view`;
      await removeProjection(store, "named");
      await append("named");
      await project(store, definition);
      await store.sql`create view read_model.named_view as select * from read_model.named`;
      const before = await countRows("named");
      const next = counting("named", 2);
      const code =
        where === "handle"
          ? {
              handle: async (events: never, tx: ProjectionTransaction) => {
                await next.handle(events, tx);
                await use(tx);
              },
            }
          : { refresh: use };
      const run = project(store, { ...next, ...code });
      await assert.rejects(run, (error: Error) => {
        assert.ok(error instanceof InvalidInput, String(error));
        assert.match(error.message, /uses read_model\.named, which belongs to the version that serves/);
        return true;
      });
      assert.equal(await countRows("named"), before);
    });
  }
}

const endings: Readonly<Record<string, (tx: Sql) => Promise<unknown>>> = {
  commits: (tx) => tx.unsafe("commit"),
  "rolls back": (tx) => tx.unsafe("rollback"),
  "commits and begins": (tx) => tx.unsafe("commit; begin"),
  "commits and chains": (tx) => tx.unsafe("commit and chain"),
  "rolls back and chains": (tx) => tx.unsafe("rollback and chain"),
  "commits, then fails": (tx) => tx.unsafe("commit").then(() => assert.fail("no")),
  "chains, then fails": (tx) => tx.unsafe("commit and chain").then(() => Promise.reject(undefined)),
};

for (const [index, [name, end]] of Object.entries(endings).entries()) {
  test(`a handler that ${name} ends the run with an error that says so, and is not called again`, async () => {
    const definition = counting(`ending_${index}`);
    await append(definition.name, definition.name);
    let calls = 0;
    const handle: ProjectOptions["handle"] = async (events, tx) => {
      calls++;
      await definition.handle(events, tx);
      await end(tx);
    };
    await assert.rejects(project(store, { ...definition, handle }), (error: Error) => {
      assert.ok(error instanceof InvalidInput, String(error));
      assert.match(error.message, /the code of the projection ending_\d ended its transaction with COMMIT or ROLLBACK/);
      return true;
    });
    const [row] = await store.sql`select checkpoint from read_model.projection where name = ${definition.name}`;
    assert.deepEqual([calls, row?.["checkpoint"]], [1, 0n]);
  });
}

test("refresh and create that end their transaction are refused too", async () => {
  const definition = counting("ending_create");
  const relations = { names: [definition.name], create: (tx: Sql) => tx.unsafe("commit and chain") };
  await assert.rejects(project(store, { ...definition, relations }), /ended its transaction/);
  const refresh = (tx: Sql) => tx.unsafe("rollback");
  await assert.rejects(project(store, { ...definition, refresh }), /ended its transaction/);
});

test("an unknown option is refused, and so is one with a wrong value", async () => {
  const given = (more: object) => project(store, { ...counting("strict"), ...more });
  for (const [more, message] of [
    [{ maxAttemps: 1 }, /^project\(\) has no option "maxAttemps": did you mean maxAttempts\?$/],
    [{ table: "x" }, /^project\(\) has no option "table": allowed are name, version, events, /],
    [{ events: "OrderPlaced" }, /^events is "OrderPlaced"; it must be an array of strings$/],
    [{ stopWhenCaughtUp: 1 }, /^stopWhenCaughtUp is 1; it must be true or false$/],
  ] as const) {
    await assert.rejects(given(more), (error: Error) => error instanceof InvalidInput && message.test(error.message));
  }
  const waiting = { timeout: 5 } as WaitUntilOptions;
  await assert.rejects(
    waitUntil(store, "strict", logStart, waiting),
    /^InvalidInput: waitUntil\(\) has no option "timeout"/,
  );
});

test("a projection that appends commits to the disk, so that no reader sees an event that a crash takes back", async () => {
  await append("appending");
  const settings: string[] = [];
  const readSetting = async (tx: Sql) => {
    const [row] = await tx<{ value: string }[]>`select current_setting('synchronous_commit') as value`;
    settings.push(row?.value ?? "");
  };
  await project(store, {
    ...counting("appending"),
    handle: async (_events, transaction) => {
      await readSetting(transaction);
      await appendEvents(store, newOrder(), [{ type: "Appended", data: {} }], { transaction });
      await readSetting(transaction);
    },
  });
  assert.deepEqual(settings, ["off", "on"]);
});

test("new versions that start at once have a clean outcome: one serves", async () => {
  for (let round = 0; round < testRounds(2); round++) {
    const name = `at_once_${round}`;
    await append(name);
    await project(store, counting(name));
    const versions = [2, 3, 4, 5];
    const ends = await Promise.allSettled(versions.map((version) => project(store, counting(name, version))));
    for (const [index, end] of ends.entries()) {
      if (end.status === "fulfilled") assert.match(end.value, /^(caught-up|retired)$/);
      else
        assert.match(String(end.reason), new RegExp(`InvalidInput: version ${index + 2} of .* is older than version`));
    }
    assert.equal(ends.at(-1)?.status, "fulfilled");
    const columns = await store.sql<{ name: string }[]>`
      select column_name as name from information_schema.columns
      where table_schema = 'read_model' and table_name = ${name} and column_name <> 'id'`;
    assert.deepEqual([...columns], [{ name: "column_5" }]);
    assert.equal(await countRows(name), 1);
  }
});

test("processes that start the same new version at once share it", async () => {
  for (let round = 0; round < testRounds(2); round++) {
    const name = `shared_${round}`;
    await append(name);
    await project(store, counting(name));
    const runs = Array.from({ length: 4 }, () => project(store, counting(name, 2)));
    assert.deepEqual(await Promise.all(runs), Array(4).fill("caught-up"));
    assert.equal(await countRows(name), 1);
  }
});

test("errors of create and refresh that only look like the store's end the run", async () => {
  const definition = counting("looks");
  const fail = () => Promise.reject(Object.assign(new Error("elsewhere"), { code: "ECONNREFUSED" }));
  const relations = { names: ["looks"], create: fail };
  await assert.rejects(project(store, { ...definition, relations }), /elsewhere/);
  await assert.rejects(project(store, { ...definition, refresh: fail }), /elsewhere/);
  await assert.rejects(
    project(store, { ...definition, refresh: () => Promise.reject(null) }),
    (error) => error === null,
  );
});

test("removeProjection() drops tables, checkpoints and dead letters, and then the projection starts over", async () => {
  const definition = counting("removed");
  await append("removed");
  await project(store, { ...definition, handle: () => Promise.reject(new Error("no")), maxAttempts: 1 });
  await project(store, counting("removed", 2));
  assert.deepEqual(await removeProjection(store, "removed", 1), {
    versions: [{ version: 1, status: "retired", relations: [], deadLetters: 1 }],
  });
  assert.equal(await countRows("removed"), 1);
  await using run = runInBackground(store, { ...counting("removed", 2), stopWhenCaughtUp: false });
  const owner = async () => {
    const [row] = await store.sql`select owner from read_model.projection_version where name = 'removed'`;
    return row?.["owner"];
  };
  await eventually(async () => typeof (await owner()) === "string");
  await assert.rejects(removeProjection(store, "removed"), /version 2 of the projection removed is running/);
  await run.stop();
  const removed = await removeProjection(store, "removed");
  assert.deepEqual(removed.versions, [
    { version: 2, status: "serving", relations: ["read_model.removed"], deadLetters: 0 },
  ]);
  assert.deepEqual(await removeProjection(store, "removed"), { versions: [] });
  const [left] = await store.sql`
    select to_regclass('read_model.removed') as table,
      (select count(*)::integer from read_model.projection where name = 'removed') as checkpoints,
      (select count(*)::integer from read_model.dead_letter where name = 'removed') as letters`;
  assert.deepEqual({ ...left }, { table: null, checkpoints: 0, letters: 0 });
  assert.equal(await project(store, definition), "caught-up");
  assert.equal(await countRows("removed"), 1);
});

test("a process that waits for the lease of a projection that is removed builds it again", async () => {
  const name = "removed_meanwhile";
  await append(name);
  await using first = runInBackground(store, { ...counting(name), stopWhenCaughtUp: false, leaseMs: 60_000 });
  await eventually(async () => (await countRows(name).catch(() => 0)) === 1);
  await using second = runInBackground(store, counting(name));
  await eventually(() => log.reports.some(([, message]) => message.includes(`waiting for the lease of version 1 of`)));
  // As if the owner had been suspended for longer than its lease.
  await store.sql.begin(async (tx) => {
    await tx`drop table ${tx(`read_model.${name}`)}`;
    await tx`delete from read_model.projection where name = ${name}`;
    await tx`delete from read_model.projection_version where name = ${name}`;
  });
  assert.equal(await second.ended, "caught-up");
  assert.equal(await countRows(name), 1);
  await first.stop();
});
