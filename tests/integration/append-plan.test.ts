import assert from "node:assert/strict";
import { test } from "node:test";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { withDatabase } from "../support/database.ts";

test("appends to a log without statistics look up one stream each, not all of its type", async () => {
  const streams = 600;
  await using database = await withDatabase();
  await inTransaction(database.admin, async (tx) => {
    await tx`
      select count((event_store.append(
        event_store.stream_id_of('Order', id), 'Order', id, -2, '[{"event_type": "Placed", "event_data": {}}]'
      )).last_version)
      from (select gen_random_uuid() as id from generate_series(1, ${streams})) as given`;
    const [row] = await tx<{ fetched: number }[]>`
      select sum(pg_stat_get_xact_tuples_fetched(indexrelid))::int as fetched
      from pg_index where indrelid = 'event_store.event_stream'::regclass`;
    assert.ok((row?.fetched ?? Number.POSITIVE_INFINITY) < 10 * streams, `${row?.fetched}`);
  });
});
