import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { errorCode } from "../../scripts/lib/postgres/failure.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { type HistoryCall, isLinearizable } from "../support/linearizability.ts";
import { testRounds } from "../support/runtime.ts";

const writerCount = 32;
let database: TestDatabase;
let writers: AsyncDisposableStack;
let sqls: readonly Sql[];
before(async () => {
  database = await withDatabase();
  writers = new AsyncDisposableStack();
  sqls = Array.from({ length: writerCount }, () => writers.use(openConnection(database.application)).sql);
  await Promise.all(sqls.map((sql) => sql`select 1`));
});
after(async () => {
  await writers[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

interface Answer {
  readonly code: string;
  /** Version after the append, or the version because of which it was refused. */
  readonly version: number;
}

async function append(sql: Sql, id: string, expected: number | null, count = 1): Promise<Answer> {
  const events = JSON.stringify(Array.from({ length: count }, () => ({ event_type: "Counted", event_data: {} })));
  try {
    const [row] = await sql<{ version: number }[]>`
      select last_version as version from event_store.append(
        event_store.stream_id_of('Counter', ${id}), 'Counter', ${id}, ${expected}, ${events}::text::jsonb)`;
    return { code: "stored", version: row?.version ?? 0 };
  } catch (error) {
    const detail = (error as { detail?: string }).detail ?? "{}";
    return { code: errorCode(error), version: JSON.parse(detail).actual };
  }
}

async function versionsOf(id: string): Promise<number[]> {
  const rows = await database.sql<{ version: number }[]>`
    select aggregate_version as version from event_store.read_stream('Counter', ${id}, 0, null)`;
  return rows.map(({ version }) => version);
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/** For each mode: the version before, how many writers succeed, and how the others are refused. */
const modes = [
  { name: "any (null)", expected: null, from: 0, stored: writerCount, refusal: "" },
  { name: "any (-2)", expected: -2, from: 2, stored: writerCount, refusal: "" },
  { name: "no stream (-1)", expected: -1, from: 0, stored: 1, refusal: "UE002" },
  { name: "no stream (0)", expected: 0, from: 0, stored: 1, refusal: "UE002" },
  { name: "no stream (0) although it exists", expected: 0, from: 1, stored: 0, refusal: "UE002" },
  { name: "exactly 3", expected: 3, from: 3, stored: 1, refusal: "UE001" },
  { name: "exactly 3 at 2", expected: 3, from: 2, stored: 0, refusal: "UE001" },
  { name: "exists (-4)", expected: -4, from: 1, stored: writerCount, refusal: "" },
  { name: "exists (-4) although it does not", expected: -4, from: 0, stored: 0, refusal: "UE003" },
];

for (const { name, expected, from, stored, refusal } of modes) {
  test(`of ${writerCount} writers that expect ${name}, exactly ${stored} succeed`, async () => {
    for (let round = 0; round < testRounds(3); round++) {
      const id = randomUUID();
      if (from > 0) await append(sqls[0] as Sql, id, 0, from);
      const answers = await Promise.all(sqls.map((sql) => append(sql, id, expected)));
      const accepted = answers.filter(({ code }) => code === "stored");
      const refused = answers.filter(({ code }) => code !== "stored");
      assert.equal(accepted.length, stored);
      assert.deepEqual([...new Set(refused.map(({ code }) => code))], refusal === "" ? [] : [refusal]);
      const reached = accepted.map(({ version }) => version).toSorted((one, other) => one - other);
      assert.deepEqual(
        reached,
        upTo(stored).map((place) => from + place),
      );
      for (const { version } of refused) assert.equal(version, from + stored);
      assert.deepEqual(await versionsOf(id), upTo(from + stored));
    }
  });
}

test("writers that expect a stream while it is being created either append to it or get UE003", async () => {
  for (let round = 0; round < testRounds(20); round++) {
    const id = randomUUID();
    const answers = await Promise.all(sqls.map((sql, index) => append(sql, id, index === 16 ? 0 : -4)));
    for (const { code, version } of answers) {
      if (code !== "stored") assert.deepEqual([code, version], ["UE003", 0]);
    }
    const count = answers.filter(({ code }) => code === "stored").length;
    assert.deepEqual(await versionsOf(id), upTo(count));
  }
});

test("the answers that concurrent clients get are linearizable", async () => {
  for (let round = 0; round < testRounds(10); round++) {
    const id = randomUUID();
    const history: HistoryCall[] = [];
    await Promise.all(sqls.slice(0, 6).map((sql) => recordCalls(sql, id, history)));
    assert.ok(isLinearizable(history), JSON.stringify(history));
    assert.deepEqual(await versionsOf(id), upTo(Math.max(0, ...history.map(versionAfter))));
  }
});

/** Makes some calls in a row and records their answers. */
async function recordCalls(sql: Sql, id: string, history: HistoryCall[]): Promise<void> {
  let known = 0;
  for (let number = 0; number < 6; number++) {
    const startedAt = performance.now();
    const call = Math.random() < 0.3 ? await readVersion(sql, id) : await appendSomehow(sql, id, known);
    history.push({ startedAt, endedAt: performance.now(), call });
    known = call.kind === "stored" ? call.last : call.kind === "read" ? call.version : call.actual;
  }
}

async function readVersion(sql: Sql, id: string): Promise<HistoryCall["call"]> {
  const [row] = await sql<{ version: number }[]>`
    select coalesce(max(aggregate_version), 0) as version from event_store.read_stream('Counter', ${id}, 0, null)`;
  return { kind: "read", version: row?.version ?? 0 };
}

async function appendSomehow(sql: Sql, id: string, known: number): Promise<HistoryCall["call"]> {
  const expected = [-2, -1, -4, known === 0 ? -1 : known, known + 1][Math.floor(Math.random() * 5)] as number;
  const count = 1 + Math.floor(Math.random() * 2);
  const { code, version } = await append(sql, id, expected, count);
  if (code === "stored") return { kind: "stored", expected, first: version - count + 1, last: version };
  assert.match(code, /^UE00[123]$/);
  return { kind: "refused", expected, actual: version };
}

function versionAfter({ call }: HistoryCall): number {
  if (call.kind === "read") return call.version;
  return call.kind === "stored" ? call.last : call.actual;
}

test("batches with the same streams in opposite orders, and refusals among them, never deadlock", async () => {
  for (let round = 0; round < testRounds(10); round++) {
    const ids = Array.from({ length: 20 }, () => randomUUID());
    await Promise.all(
      sqls.slice(0, 8).map((sql, index) => appendToEach(sql, index % 2 === 0 ? ids : ids.toReversed())),
    );
    for (const id of ids) assert.deepEqual(await versionsOf(id), upTo(8));
  }
});

/** Appends to each stream in one batch. Some appends are preceded by one to the same stream that must be refused. */
async function appendToEach(sql: Sql, ids: readonly string[]): Promise<void> {
  const appends = ids.flatMap((id) => {
    const append = { aggregate_type: "Counter", aggregate_id: id, events: [{ event_type: "Counted", event_data: {} }] };
    return Math.random() < 0.3 ? [{ ...append, expected_version: 1_000_000 }, append] : [append];
  });
  const rows = await sql<{ sqlstate: string | null }[]>`
    select sqlstate from event_store.append_batch(${JSON.stringify(appends)}::text::jsonb)`;
  assert.deepEqual(
    rows.map(({ sqlstate }) => sqlstate),
    appends.map((append) => ("expected_version" in append ? "UE001" : null)),
  );
}
