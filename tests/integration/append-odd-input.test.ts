import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { placed } from "../support/append.ts";
import {
  append,
  appendBatch,
  countEvents,
  element,
  type Given,
  given,
  refusal,
  secondEvent,
} from "../support/append-input.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { testRounds } from "../support/runtime.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

test("append() and append_batch() store events of 2 MB", async () => {
  const text = "ü".repeat(1024 * 1024);
  const [alone, together] = [given(), given()].map((append) => ({
    ...append,
    ...secondEvent({ event_data: { text } }),
  }));
  await append(database.sql, alone as Given);
  await appendBatch(database.sql, [element(together as Given)]);
  for (const { type, id } of [alone, together] as Given[]) {
    const [row] = await database.sql<{ isSame: boolean }[]>`
      select event_data ->> 'text' = ${text} as "isSame" from event_store.read_stream(${type}, ${id}, 1)`;
    assert.equal(row?.isSame, true);
  }
});

type Appending = (sql: Sql, append: Given) => PromiseLike<unknown>;
const seeds: Appending = (sql, { type, id, expected, events }) => sql`
  select event_store.append_events(${type}, ${id}, ${expected},
    array(select value from jsonb_array_elements(${events}::text::jsonb)))`;
const ways: Readonly<Record<string, Appending>> = {
  append,
  append_batch: (sql, append) => appendBatch(sql, [element(append)]),
  append_events: seeds,
};

for (const [name, appendBy] of Object.entries(ways)) {
  test(`${name}() keeps every digit of numbers that JavaScript would round, and refuses what is not JSON`, async () => {
    const large = given({ events: '[{"event_type":"A","event_data":{"n":1e400,"m":0.1234567890123456789}}]' });
    await appendBy(database.sql, large);
    const [row] = await database.sql`
      select (event_data -> 'n')::numeric = 1e400 as "isLarge", event_data ->> 'm' as digits
      from event_store.read_stream(${large.type}, ${large.id})`;
    assert.deepEqual({ ...row }, { isLarge: true, digits: "0.1234567890123456789" });
    const before = await countEvents(database.sql);
    for (const [number, code] of [
      ["NaN", "22P02"],
      ["Infinity", "22P02"],
      ["1e200000", "22003"],
      ['"\\u0000"', "22P05"],
    ] as const) {
      const work = appendBy(database.sql, given({ events: `[{"event_type":"A","event_data":{"n":${number}}}]` }));
      assert.equal((await refusal(work)).code, code, number);
    }
    assert.equal(await countEvents(database.sql), before);
  });

  for (const level of ["repeatable read", "serializable"]) {
    test(`${name}() works in a ${level} transaction, and fails with 40001 if another was faster`, async () => {
      const transaction = (work: (tx: Sql) => PromiseLike<unknown>) =>
        database.sql.begin(`isolation level ${level}`, (tx) => work(tx as unknown as Sql));
      const first = given({ expected: null });
      await transaction((tx) => appendBy(tx, first));
      const next = { ...first, events: `[{"event_type":"Next","event_data":{}}]` };
      const racing = transaction(async (tx) => {
        await tx`select count(*) from event_store.event_stream`;
        await append(database.sql, first);
        await appendBy(tx, next);
      });
      assert.equal((await refusal(racing)).code, "40001");
      await transaction((tx) => appendBy(tx, next));
      const stored = await database.sql<{ type: string; version: number }[]>`
        select event_type as type, aggregate_version as version from event_store.read_stream(${first.type}, ${first.id})`;
      assert.deepEqual(
        stored.map(({ type, version }) => [version, type]),
        [
          [1, placed.event_type],
          [2, placed.event_type],
          [3, "Next"],
        ],
      );
    });
  }
}

const odd = ["", " ", "x", 0, 1, -1, 1.5, 1e9, 1e10, 999_999_999, null, true, {}, [], "x".repeat(256), randomUUID()];
const keys = [
  "event_id",
  "event_type",
  "event_version",
  "event_data",
  "metadata",
  "causation_id",
  "correlation_id",
  "type",
];

function oddEvent(): object {
  const changes = Array.from({ length: pick([1, 1, 2, 3]) }, () => [pick(keys), pick([undefined, ...odd])]);
  return { ...placed, ...Object.fromEntries(changes) };
}

function pick<Value>(values: readonly Value[]): Value {
  return values[Math.floor(Math.random() * values.length)] as Value;
}

/** 1,000 in a normal run, 20,000 in a soak. */
const oddCount = 1_000 * testRounds(1);

test("append() and append_batch() store odd events identically, or refuse them with the same message", async () => {
  const events = JSON.stringify(Array.from({ length: oddCount }, oddEvent));
  const rows = await database.admin<{ event: unknown; problem: string | null; isEvent: boolean }[]>`
    select event, event_store.is_event(event_store.keep_text_ids(jsonb_build_array(event)) -> 0) as "isEvent",
      event_store.append_problem('Order', gen_random_uuid(), 0, jsonb_build_array(event), null) as problem
    from jsonb_array_elements(${events}::text::jsonb) as event`;
  for (const { event, problem, isEvent } of rows) assert.equal(problem === null, isEvent, JSON.stringify(event));
  const accepted = rows.filter(({ isEvent }) => isEvent).length;
  assert.ok(accepted > oddCount / 20 && accepted < oddCount * 0.95, `${accepted} of ${oddCount}`);
  const answers = await appendBatch(
    database.sql,
    rows.map(({ event }) => element(given({ events: JSON.stringify([event]) }))),
  );
  for (const [index, { event, problem }] of rows.entries()) {
    const answer = answers[index];
    // Several events may have the same UUID as event_id: all but the first are refused as duplicates.
    if (problem === null && answer?.sqlstate === "UE004") continue;
    assert.deepEqual(
      [answer?.sqlstate, answer?.message],
      problem === null ? [null, null] : ["UE007", problem],
      JSON.stringify(event),
    );
  }
});
