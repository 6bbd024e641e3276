import assert from "node:assert/strict";
import { test } from "node:test";
import { checkpointPlace, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { readLog } from "../../scripts/lib/event-store/read-log.ts";
import { keepStored } from "../../scripts/lib/event-store/upcast.ts";
import { append, placed } from "../support/append.ts";
import { withDatabase } from "../support/database.ts";

test("a page that is fetched ahead, beyond the end of the log, is empty and no sign of a log that was rewound", async () => {
  await using database = await withDatabase();
  await append(database.sql, { events: [placed, placed, placed] });
  const range = { above: 10n, upTo: 15n };
  const options = { after: checkpointPlace(logStart), isKeptOutside: true, maxCount: 5, range, upcasters: keepStored };
  const { events, place, isAtEnd } = await readLog(database.sql, options);
  assert.deepEqual([events.length, place.position, isAtEnd], [0, 3n, true]);
});
