import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type TestDatabase, withDatabase } from "../support/database.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());
test("works", async () => {
  const [row] =
    await database.sql`select current_user::text as me, event_store.append_events('Order', gen_random_uuid(), 0, array['{"event_type":"OrderPlaced","event_version":1,"event_data":{"total":42}}']::jsonb[]) as id`;
  assert.equal(row?.["me"], "cqrs_app");
});
test("skips", { skip: "why not" }, () => {});
