import assert from "node:assert/strict";
import { test } from "node:test";
import { connectForMaintenance } from "../../scripts/lib/postgres/maintenance.ts";
import { withDatabase } from "../support/database.ts";
import { failure } from "../support/schema-folder.ts";

test("connectForMaintenance() connects to the first candidate that exists", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const candidates = ["no_such_database", database.name, "postgres"];
  await using connection = await connectForMaintenance(database.administrator, { candidates });
  const [row] = await connection.sql`select current_database() as name`;
  assert.equal(row?.["name"], database.name);
});

test("connectForMaintenance() reports candidates that do not exist", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const candidates = ["no_such_database", "nor_this_one"];
  const error = await failure(connectForMaintenance(database.administrator, { candidates }));
  assert.deepEqual([error.code, error.exitCode], ["NO_DATABASE", 3]);
  assert.match(error.message, /^The server 127\.0\.0\.1:\d+ has no database for maintenance$/);
  assert.equal(error.why, "None of these databases exist: no_such_database, nor_this_one.");
  assert.equal(error.fix, "Create one of them with the server's own tools.");
});

test("connectForMaintenance() does not try other candidates after a refused login", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const target = { ...database.administrator, password: "wrong" };
  const error = await failure(connectForMaintenance(target, { candidates: [database.name, "postgres"] }));
  assert.deepEqual([error.code, error.exitCode], ["AUTHENTICATION", 6]);
  assert.match(error.message, new RegExp(`/${database.name}$`));
});
