import assert from "node:assert/strict";
import { test } from "node:test";
import { append } from "../support/append.ts";
import { withDatabase } from "../support/database.ts";

test("a snapshot that is older than the checkpoint does not mean that the log was rewound", async () => {
  await using database = await withDatabase();
  const reading = database.sql.begin("isolation level repeatable read", async (tx) => {
    await tx`select count(*) from event_store.domain_event`;
    await append(database.sql, {});
    const [event] = await database.sql<{ position: bigint; id: string }[]>`
      select global_position as position, event_id as id from event_store.domain_event`;
    await tx`select from event_store.resume_log(${event?.position ?? 0n}, ${event?.id ?? null})`;
  });
  await assert.rejects(reading, { code: "25001" });
});
