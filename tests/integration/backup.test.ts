import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { BackupResult } from "../../scripts/lib/backup/create.ts";
import { listBackups } from "../../scripts/lib/backup/list.ts";
import { lockArchives, lockHolderName } from "../../scripts/lib/backup/lock.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { connectForMaintenance } from "../../scripts/lib/postgres/maintenance.ts";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import type { TestDatabase } from "../support/database.ts";
import { readContent } from "../support/oracle.ts";
import { testRounds } from "../support/runtime.ts";
import { failure } from "../support/schema-folder.ts";

test("an archive is a folder that only its owner may read, and gets its final name once it is complete", async () => {
  await using archives = await withArchives();
  await mkdir(join(archives.folder, `${archives.database.name}-20200101T000000000Z.partial`));
  const { archive, id } = await archives.backUp();
  assert.deepEqual(await readdir(archives.folder), [id], "the archive of a killed run is removed");
  for (const name of ["", ...(await readdir(archive, { recursive: true }))]) {
    const stats = await stat(join(archive, name));
    assert.equal(stats.mode & 0o777, stats.isDirectory() ? 0o700 : 0o600, name);
  }
});

test("backups are listed, the oldest first, with their kind and number of rows", async () => {
  await using archives = await withArchives();
  const first = await archives.backUp();
  await append(archives.database.sql, {});
  const second = await archives.backUp();
  const { archives: listed } = await listBackups(archives.stack, archives.folder);
  assert.deepEqual(
    listed.map(({ id, kind, rows }) => [id, kind, rows]),
    [
      [first.id, "full", first.rows],
      [second.id, "full", first.rows + 2],
    ],
  );
});

test("of two concurrent backups or restores of a database, one is refused and names the holder", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  await using holder = await holdLock(archives.database);
  for (const attempt of [() => archives.backUp(), () => archives.restore()]) {
    const error = await failure(attempt());
    assert.deepEqual([error.code, error.exitCode], ["LOCKED", 5]);
    const held = new RegExp(`session ${holder.pid} \\(cqrs-postgres restore \\(pid ${process.pid}\\)`);
    assert.match(error.why ?? "", held);
  }
});

test("a backup under 16 writers restores to streams without gaps, and the next position is higher", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await using archives = await withArchives();
    const { database } = archives;
    const streams = Array.from({ length: 8 }, () => randomUUID());
    const { lastPosition } = await backUpUnderLoad(archives, async (sql, writer) => {
      await append(sql, { id: streams[writer % 8] as string, events: [placed, placed] });
      await advanceCheckpoint(database);
    });
    await archives.restore();
    await assertConsistent(archives, streams, BigInt(lastPosition));
  }
});

test("an incremental archive contains events that were in flight when its base was written", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await using archives = await withArchives();
    const { database } = archives;
    await backUpUnderLoad(archives, appendSlowly);
    const before = await readContent(database.admin);
    const { archive } = await archives.backUp({ incremental: true });
    await append(database.sql, {});
    await archives.restore({ archive });
    assert.deepEqual(await readContent(database.admin), before);
  }
});

/** Backs up while 16 writers are running, after at least one write. */
async function backUpUnderLoad(
  archives: ArchiveTest,
  write: (sql: Sql, writer: number) => Promise<void>,
): Promise<BackupResult> {
  const stop = new AbortController();
  await using writers = openConnection(archives.database.application, { max: 16 });
  let written = 0;
  const work = Array.from({ length: 16 }, async (_, writer) => {
    while (!stop.signal.aborted) {
      await write(writers.sql, writer);
      written++;
    }
  });
  while (written === 0) await sleep(5);
  await sleep(Math.random() * 200);
  const result = await archives.backUp();
  stop.abort();
  await Promise.all(work);
  return result;
}

/** Gets its position some time before it commits. */
async function appendSlowly(sql: Sql): Promise<void> {
  await sql.begin(async (tx) => {
    await append(tx as unknown as Sql, {});
    await tx`select pg_sleep(random() / 5)`;
  });
}

/** Advances the checkpoint of a projection, as a running one does. */
async function advanceCheckpoint({ sql }: TestDatabase): Promise<void> {
  const [row] = await sql<{ safe: bigint }[]>`select event_store.safe_position() as safe`;
  await sql`
    insert into read_model.projection (name, version, checkpoint) values ('orders', 1, ${row?.safe ?? 0n})
    on conflict (name, version, partition) do update set checkpoint = greatest(projection.checkpoint, excluded.checkpoint)`;
}

async function assertConsistent({ database }: ArchiveTest, streams: readonly string[], last: bigint): Promise<void> {
  const broken = await database.admin`
    select s.stream_id from event_store.event_stream as s
    left join event_store.domain_event as e using (stream_id) group by s.stream_id, s.version
    having count(*) <> s.version or min(e.aggregate_version) <> 1 or max(e.aggregate_version) <> s.version`;
  assert.deepEqual([...broken], []);
  const [row] = await database.admin<{ last: bigint; checkpoint: bigint; drawn: bigint }[]>`
    select (select max(global_position) from event_store.domain_event) as last,
      (select max(checkpoint) from read_model.projection) as checkpoint,
      (select last_value from event_store.domain_event_global_position) as drawn`;
  assert.ok(row !== undefined && row.last === last && row.drawn >= row.last && row.checkpoint <= row.drawn);
  await append(database.sql, { id: streams[0] as string });
  const [next] = await database.admin<{ last: bigint }[]>`
    select max(global_position) as last from event_store.domain_event`;
  assert.ok((next?.last ?? 0n) > row.drawn);
}

async function holdLock(database: TestDatabase) {
  const applicationName = lockHolderName("restore");
  const connection = await connectForMaintenance(database.administrator, { applicationName });
  await lockArchives(connection.sql, database.name, new AbortController().signal);
  const [row] = await connection.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return { pid: row?.pid ?? 0, [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose]() };
}
