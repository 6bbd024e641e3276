// The invariants of the log find each event that is out of order, whatever the number of connections.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { readViolations } from "../../scripts/lib/schema/invariants.ts";
import { append } from "../support/append.ts";
import { withDatabase } from "../support/database.ts";

test("an event whose position does not exceed that of its predecessor violates an invariant", async () => {
  await using database = await withDatabase();
  const events = Array.from({ length: 4 }, () => ({ event_type: "Added", event_data: {} }));
  for (const type of ["Cart", "Order"]) await append(database.sql, { type, events });
  const stream = await append(database.sql, { type: "Invoice", events });
  await database.admin`alter table event_store.domain_event disable trigger user`;
  await database.admin`
    update event_store.domain_event as event set global_position = previous.global_position
    from event_store.domain_event as previous
    where event.stream_id = ${stream} and event.aggregate_version = 3
      and previous.stream_id = ${stream} and previous.aggregate_version = 2`;
  for (const max of [1, 2]) {
    await using connection = openConnection(database.administrator, { max });
    const violations = await readViolations(connection.sql);
    assert.deepEqual(
      violations.map(({ invariant, rows }) => [
        invariant,
        rows.map((row) => [row["stream_id"], row["aggregate_version"]]),
      ]),
      [["event_store.position_grows_within_a_stream", [[stream, 3]]]],
    );
  }
});
