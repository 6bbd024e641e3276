import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
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

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

const good = JSON.stringify(placed);

const versionProblem = "the event_version of event 2 is not an integer from 1 to 999999999:";
const typeProblem = "event 2 has no event_type that is a non-empty string";
const expectedProblem =
  "is not an expected version: pass a version, 0 for a new stream, -4 for an existing one, or null for any";
/** What is wrong, how the arguments differ from valid ones, and the expected message. */
const cases: readonly (readonly [string, Partial<Given>, string])[] = [
  ["an empty batch", { events: "[]" }, "there are no events to append"],
  ["a JSON null for the events", { events: "null" }, "there are no events to append"],
  ["one event outside an array", { events: good }, "the events are a JSON object, not a JSON array"],
  ["a string for the events", { events: '"nonsense"' }, "the events are a JSON string, not a JSON array"],
  ["a null among the events", { events: `[${good},null]` }, "event 2 is a JSON null, not a JSON object"],
  ["a number among the events", { events: `[${good},5]` }, "event 2 is a JSON number, not a JSON object"],
  ["an array among the events", { events: `[${good},[${good}]]` }, "event 2 is a JSON array, not a JSON object"],
  ["an unknown key", secondEvent({ eventData: {} }), 'event 2 has the unknown key "eventData"'],
  ["no event_type", secondEvent({ event_type: undefined }), typeProblem],
  ["an empty event_type", secondEvent({ event_type: "" }), typeProblem],
  [
    "a type of 300 characters",
    secondEvent({ event_type: "ü".repeat(300) }),
    "the event_type of event 2 has 300 characters; at most 255 are allowed",
  ],
  [
    "event_data that is null",
    secondEvent({ event_data: null }),
    "event 2 has no event_data; write {} for an event without data",
  ],
  ["the event_version 0", secondEvent({ event_version: 0 }), `${versionProblem} 0`],
  ["the event_version -1", secondEvent({ event_version: -1 }), `${versionProblem} -1`],
  ["the event_version NaN", secondEvent({ event_version: "NaN" }), `${versionProblem} "NaN"`],
  [
    "the event_version 1e400",
    { events: `[${good},${good.replace('version":1', 'version":1e400')}]` },
    `${versionProblem} 1${"0".repeat(99)}`,
  ],
  ["an event_id that is not a UUID", secondEvent({ event_id: "17" }), 'the event_id of event 2 is not a UUID: "17"'],
  ["the expected version -3", { expected: -3 }, `-3 ${expectedProblem}`],
  ["the expected version -5", { expected: -5 }, `-5 ${expectedProblem}`],
  ["no aggregate type", { type: null }, "the aggregate type is missing"],
  ["an empty aggregate type", { type: "" }, "the aggregate type is missing"],
  [
    "an aggregate type of 300 characters",
    { type: "x".repeat(300) },
    "the aggregate type has 300 characters; at most 255 are allowed",
  ],
  ["no aggregate id", { id: null }, "the aggregate id is missing"],
];

for (const [what, changes, sentence] of cases) {
  test(`append() refuses ${what} with UE007, and append_batch() refuses only that element`, async () => {
    const before = await countEvents(database.sql);
    const bad = given(changes);
    const error = await refusal(append(database.sql, bad));
    assert.deepEqual([error.code, error.message], ["UE007", sentence]);
    assert.deepEqual(JSON.parse(error.detail), {
      expected: bad.expected,
      actual: null,
      aggregate_type: bad.type,
      aggregate_id: bad.id,
    });
    assert.equal(await countEvents(database.sql), before);
    const answers = await appendBatch(database.sql, [given(), bad, given()].map(element));
    assert.deepEqual(
      answers.map((answer) => [answer.sqlstate, answer.message, answer.first_version]),
      [
        [null, null, 1],
        ["UE007", sentence, null],
        [null, null, 1],
      ],
    );
    assert.equal(await countEvents(database.sql), before + 2);
  });
}

test("append() refuses SQL's null for the events, and the id of another stream, with UE007", async () => {
  const nothing = await refusal(append(database.sql, given({ events: null })));
  assert.deepEqual([nothing.code, nothing.message], ["UE007", "there are no events to append"]);
  const [id, other] = [randomUUID(), randomUUID()];
  for (const stream of [other, null]) {
    const error = await refusal(
      database.sql`select event_store.append(${stream}, 'Order', ${id}, 0, ${`[${good}]`}::text::jsonb)`,
    );
    assert.deepEqual(
      [error.code, error.message],
      ["UE007", `${stream ?? "null"} is not the id of the stream of Order ${id}`],
    );
  }
});

test("append_batch() refuses anything but an array, and returns no rows for an empty one", async () => {
  for (const [appends, type] of [
    ["null", "null"],
    ["5", "number"],
    [element(given()), "object"],
    [null, "null"],
  ] as const) {
    const error = await refusal(database.sql`select event_store.append_batch(${appends}::text::jsonb)`);
    assert.deepEqual([error.code, error.message], ["UE007", `the appends are a JSON ${type}, not a JSON array`]);
  }
  assert.equal((await appendBatch(database.sql, [])).length, 0);
});

const elementCases: readonly (readonly [string, string])[] = [
  ["null", "the element of the batch is a JSON null, not a JSON object"],
  ["5", "the element of the batch is a JSON number, not a JSON object"],
  ["[]", "the element of the batch is a JSON array, not a JSON object"],
  ["{}", "the aggregate type is missing"],
  [element(given()).replace("events", "event"), "the element of the batch has an unknown key; allowed are stream_id, "],
  [
    element(given()).replace("{", '{"extra":1,'),
    "the element of the batch has an unknown key; allowed are stream_id, ",
  ],
  [element(given({ id: "17" })), 'the aggregate id is not a UUID: "17"'],
  [element(given()).replace("{", '{"stream_id":"17",'), 'the stream id is not a UUID: "17"'],
  [element(given()).replace("{", `{"stream_id":"${randomUUID()}",`), "is not the id of the stream of Order"],
  [element(given()).replace('version":0', 'version":1.5'), "the expected version is not an integer: 1.5"],
  [element(given()).replace('version":0', 'version":1e400'), "the expected version is not an integer: 1000"],
  [element(given()).replace('version":0', 'version":"NaN"'), 'the expected version is not an integer: "NaN"'],
];

test("append_batch() says why each bad element is refused, and appends the others", async () => {
  await assertEachRefused(elementCases);
  for (const one of elementCases) await assertEachRefused([one]);
});

/** Sends each bad element together with a good one, all in one batch. */
async function assertEachRefused(cases: typeof elementCases): Promise<void> {
  const answers = await appendBatch(
    database.sql,
    cases.flatMap(([bad]) => [bad, element(given())]),
  );
  for (const [index, [bad, sentence]] of cases.entries()) {
    assert.equal(answers[2 * index]?.sqlstate, "UE007", bad);
    assert.ok(answers[2 * index]?.message?.includes(sentence), `${bad}: ${answers[2 * index]?.message}`);
    assert.deepEqual([answers[2 * index + 1]?.sqlstate, answers[2 * index + 1]?.first_version], [null, 1]);
  }
}
