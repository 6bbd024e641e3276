import assert from "node:assert/strict";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { completeReader, conditionReader, followLog, plainReader } from "../support/log-oracle.ts";
import { eventTypes } from "../support/log-writers.ts";
import { testRounds } from "../support/runtime.ts";
import { whyUnavailable, withLaterServer } from "../support/server-version.ts";

/** 500 in a run of the tests, 10,000 in a soak. */
const eventCount = 500 * testRounds(1);

for (const major of [17, 18]) {
  const name = `on PostgreSQL ${major}, readers with read_all() do not lose, repeat or reorder events either`;
  const reason = whyUnavailable(major);
  test(reason === undefined ? name : `${name} (${reason})`, { skip: reason !== undefined }, async () => {
    await using server = await withLaterServer(major);
    await using connection = openConnection(server.application);
    const [row] = await connection.sql`select current_setting('server_version') as version`;
    assert.match(String(row?.["version"]), new RegExp(`^${major}\\.`));
    const readers = {
      complete: completeReader(),
      filtered: completeReader(eventTypes),
      plain: plainReader(),
      naive: conditionReader("true"),
    };
    const verdicts = await followLog(readers, { target: server.application, writers: 16, events: eventCount });
    assert.ok(verdicts.complete.stored >= eventCount);
    for (const reader of ["complete", "filtered", "plain"] as const) {
      const { missed, duplicates, outOfStreamOrder } = verdicts[reader];
      assert.deepEqual([missed, duplicates, outOfStreamOrder], [0, 0, 0], reader);
    }
    assert.ok(verdicts.naive.missed > 0, "the naive reader must miss events, or this shows nothing");
  });
}
