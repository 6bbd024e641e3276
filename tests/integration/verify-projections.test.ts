import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { append } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { check, fails } from "../support/verify.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
  for (let count = 0; count < 3; count++) await append(database.sql, {});
});
after(() => database[Symbol.asyncDispose]());

/** The state of a projection: a version that serves, at the end of the log, run by nobody. */
interface State {
  readonly status?: string;
  readonly checkpoint?: number;
  readonly owner?: string | null;
  /** When its lease expires, in seconds from now. */
  readonly expiresIn?: number;
  readonly isDead?: boolean;
}

async function register({ status = "serving", checkpoint = 3, owner = null, expiresIn = 60, isDead }: State) {
  const { admin } = database;
  for (const table of ["projection_version", "projection", "dead_letter"]) {
    await admin.unsafe(`delete from read_model.${table}`);
  }
  await admin`
    insert into read_model.projection_version (name, version, partition_count, status, owner, expires_at, events)
    values ('orders', 2, 1, ${status}, ${owner}, now() + make_interval(secs => ${expiresIn}), '{OrderPlaced}')`;
  await admin`insert into read_model.projection (name, version, checkpoint) values ('orders', 2, ${checkpoint})`;
  if (!isDead) return;
  await admin`
    insert into read_model.dead_letter (
      name, version, stream_id, aggregate_version, aggregate_type, aggregate_id, event_type, attempts, error
    )
    select 'orders', 2, stream_id, 1, aggregate_type, aggregate_id, 'OrderPlaced', 3, 'it failed'
    from event_store.event_stream limit 1`;
}

/** The limits make every delay too long. */
const impatient = { maxLagSeconds: 0, maxStalledSeconds: 0 };

const problems: readonly (readonly [what: string, state: State, why: RegExp, fix: RegExp])[] = [
  ["has a dead letter", { isDead: true }, /^version 2 of orders has 1 dead letters$/, /projections replay/],
  ["is stalled", { checkpoint: 1 }, /^version 2 of orders is stalled, because no .*: 2 events/, /projections run/],
  ["has lost its owner", { checkpoint: 1, owner: "host:1", expiresIn: -1 }, /is stalled/, /projections run/],
  ["runs, and does not keep up", { checkpoint: 1, owner: "host:1" }, /is running, and 2 events behind/, /its run/],
  ["is bypassed inline", { checkpoint: 1, owner: "inline" }, /is bypassed by appends/, /inlineProjections/],
  ["is ahead of the log", { checkpoint: 9 }, /is ahead of the log, which was rewound/, /projections rebuild/],
  [
    "is retired, and still runs",
    { status: "retired", owner: "host:1" },
    /is retired, but host:1 /,
    /Stop that process/,
  ],
];

for (const [what, state, why, fix] of problems) {
  test(`projections fails if a projection ${what}`, async () => {
    await register(state);
    assert.match((await fails("projections", why, database, impatient)).fix ?? "", fix);
  });
}

test("projections passes if a projection is at the end, is being built, is retired, or is a moment behind", async () => {
  for (const state of [{}, { status: "building", owner: "host:1", checkpoint: 0 }, { status: "retired" }]) {
    await register(state);
    assert.equal((await check(database, "projections", impatient)).result, "ok", JSON.stringify(state));
  }
  await register({ checkpoint: 1 });
  const { result, evidence } = await check(database, "projections");
  assert.deepEqual([result, evidence], ["ok", "orders 2 (serving): 2 events behind, 0 dead letters"]);
});
