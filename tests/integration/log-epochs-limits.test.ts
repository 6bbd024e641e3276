import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { readManifest } from "../../scripts/lib/archive/manifest.ts";
import { skipDrawnPositions } from "../../scripts/lib/backup/restored-epoch.ts";
import { readLogProblems } from "../../scripts/lib/operations/log-problems.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { readViolations } from "../../scripts/lib/schema/invariants.ts";
import { append } from "../support/append.ts";
import { withArchives } from "../support/archive.ts";
import { withDatabase } from "../support/database.ts";
import { silentRun } from "../support/stack.ts";

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

test("an archive of a schema without epochs can be restored, and no position is used twice", async () => {
  await using replaced = await withDatabase();
  for (let count = 0; count < 3; count++) await append(replaced.sql, {});
  await using restored = await withDatabase();
  await dropEpochs(restored.admin);
  assert.deepEqual(await readViolations(restored.admin), []);
  await skipDrawnPositions(restored.administrator, replaced.administrator, silentRun);
  const [row] = await restored.admin`select nextval('event_store.domain_event_global_position') as next`;
  assert.equal(row?.["next"], 1_000_004n);
});

test("an incremental archive is based on none whose log has an event that the restored log lacks", async () => {
  await using archives = await withArchives();
  const { sql, admin } = archives.database;
  await append(sql, {});
  const late = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const id = randomUUID();
  const writing = sql.begin(async (tx) => {
    await append(tx, { id });
    begun.resolve();
    await late.promise;
  });
  await begun.promise;
  await append(sql, {});
  const { archive, id: earlier } = await archives.backUp();
  late.resolve();
  await writing;
  await archives.backUp();
  await archives.restore({ archive });
  await append(admin, { id });
  const incremental = await archives.backUp({ incremental: true });
  assert.equal((await readManifest(incremental.archive)).base?.id, earlier);
  await archives.restore({ archive: incremental.archive });
  assert.equal((await admin`select from event_store.domain_event`).length, 3);
});

test("every spelling of synchronous_commit = off is reported", async () => {
  await using database = await withDatabase();
  for (const value of ["off", "OFF", "false", "no", "0"]) {
    await database.admin.unsafe(`alter database ${database.name} set synchronous_commit = '${value}'`);
    assert.equal((await readLogProblems(database.admin)).length, 1, value);
  }
  await database.admin.unsafe(`alter database ${database.name} set synchronous_commit = local`);
  assert.deepEqual(await readLogProblems(database.admin), []);
});

/** Makes the schema one from before migration 0005. */
async function dropEpochs(sql: Sql): Promise<void> {
  await sql
    .unsafe(
      "drop table event_store.log_epoch cascade; drop function event_store.skip_positions, event_store.begin_epoch",
    )
    .simple();
}
