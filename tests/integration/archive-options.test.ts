import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { listBackups } from "../../scripts/lib/backup/list.ts";
import { pruneArchives } from "../../scripts/lib/backup/prune.ts";
import { verifyBackup } from "../../scripts/lib/backup/verify.ts";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { readContent } from "../support/oracle.ts";
import { failure } from "../support/schema-folder.ts";
import { silentRun } from "../support/stack.ts";

test("an incremental archive has only what is new, and with its base restores everything, redactions too", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id, events: Array.from({ length: 50 }, () => placed) });
  const full = await archives.backUp();
  await append(database.sql, { id, events: [placed] });
  await database.admin`select event_store.redact_event('Order', ${id}, 7, 'asked for')`;
  const before = await readContent(database.admin);
  const increment = await archives.backUp({ incremental: true });
  assert.equal(await eventsIn(increment.archive), 2, "the new event and the redacted one");
  assert.equal(await eventsIn(full.archive), 50);
  await append(database.sql, { id });
  await archives.restore({ archive: increment.archive });
  assert.deepEqual(await readContent(database.admin), before);
  const [row] = await database.sql`select event_data from event_store.domain_event where aggregate_version = 7`;
  assert.deepEqual(row?.["event_data"], {});
});

test("an incremental archive never continues an archive of another history", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const alone = await failure(archives.backUp({ incremental: true }));
  assert.deepEqual([alone.code, alone.exitCode], ["NO_BASE", 8]);
  const early = await archives.backUp();
  await append(database.sql, {});
  const late = await archives.backUp();
  await archives.restore({ archive: early.archive });
  // Another event gets the position of the late archive's event.
  await append(database.sql, {});
  await archives.backUp({ incremental: true });
  const listed = await listBackups(archives.stack, archives.folder);
  const [increment] = listed.archives.filter(({ kind }) => kind === "incremental");
  assert.equal(increment?.base, early.id);
  assert.notEqual(increment?.base, late.id);
});

test("an encrypted archive reveals none of its rows, and only its key restores it", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  await append(database.sql, { events: [{ ...placed, event_data: { note: "very secret" } }] });
  const before = await readContent(database.admin);
  const keyFile = join(archives.folder, "key");
  await writeFile(keyFile, `${randomBytes(32).toString("hex")}\n`);
  const { archive } = await archives.backUp({ encryption: { encrypt: true, keyFile } });
  for (const name of await readdir(join(archive, "data"))) {
    const start = (await readFile(join(archive, "data", name))).subarray(0, 4);
    assert.notEqual(start.toString("hex"), "28b52ffd", "without the key, no file is recognisable as zstd");
  }
  const deep = { archive, from: archives.folder, keyFile, depth: "deep" } as const;
  await verifyBackup(archives.stack, deep, silentRun);
  await archives.restore({ archive, keyFile });
  assert.deepEqual(await readContent(database.admin), before);
  await writeFile(keyFile, randomBytes(32).toString("hex"));
  for (const attempt of [
    () => archives.restore({ archive, keyFile }),
    () => verifyBackup(archives.stack, deep, silentRun),
  ]) {
    const error = await failure(attempt());
    assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_KEY", 11]);
  }
});

test("the secret store's key is created once and reused; with a malformed key nothing is written", async () => {
  await using archives = await withArchives();
  const encryption = { encrypt: true, keyFile: undefined };
  const { archive } = await archives.backUp({ encryption });
  await archives.restore({ archive });
  const keyFile = join(archives.folder, "key");
  for (const key of ["", "too short", "z".repeat(64)]) {
    await writeFile(keyFile, key);
    const error = await failure(archives.backUp({ encryption: { encrypt: true, keyFile } }));
    assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_KEY", 2]);
  }
  assert.equal((await failure(archives.backUp({ encryption: { encrypt: true, keyFile: "/nowhere" } }))).exitCode, 2);
  assert.equal((await listBackups(archives.stack, archives.folder)).archives.length, 1);
});

test("verify --restore restores into a temporary database, and finds what only a restore can find", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id });
  const good = await archives.backUp();
  const restored = { from: archives.folder, keyFile: undefined, depth: "restored" } as const;
  await verifyBackup(archives.stack, { ...restored, archive: good.archive }, silentRun);
  await database.admin`update event_store.event_stream set version = 5`;
  const bad = await archives.backUp();
  const error = await failure(verifyBackup(archives.stack, { ...restored, archive: bad.archive }, silentRun));
  assert.deepEqual([error.code, error.exitCode], ["INVARIANT", 11]);
  assert.match(error.why ?? "", /event_store\.stream_ends_with_its_version: .*"version":5/);
  const refused = await failure(archives.restore({ archive: bad.archive }));
  assert.equal(refused.code, "INVARIANT");
  const [row] =
    await database.admin`select count(*)::int as count from pg_database where datname ~ '_(scratch|restoring)_'
    and datname like ${`${database.name.slice(0, 20)}%`}`;
  assert.equal(row?.["count"], 0);
});

test("prune keeps the newest, verified and needed archives, and reports which contain erased data", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id });
  const verified = await archives.backUp();
  await verifyBackup(archives.stack, { archive: verified.archive, from: archives.folder, depth: "quick" }, silentRun);
  const old = await archives.backUp();
  const base = await archives.backUp();
  await database.admin`select event_store.redact_event('Order', ${id}, 1, 'asked for')`;
  const increment = await archives.backUp({ incremental: true });
  const dryRun = await prune(archives, true);
  assert.deepEqual(dryRun.removed, [old.id]);
  assert.equal((await listBackups(archives.stack, archives.folder)).archives.length, 4);
  const { removed, kept, holdingErasedData } = await prune(archives, false);
  assert.deepEqual(removed, [old.id]);
  assert.deepEqual(new Set(kept), new Set([verified.id, base.id, increment.id]));
  assert.deepEqual(new Set(holdingErasedData), new Set([verified.id, base.id]));
  assert.equal((await listBackups(archives.stack, archives.folder)).archives.length, 3);
});

function prune({ stack, folder }: ArchiveTest, dryRun: boolean) {
  return pruneArchives(stack, { from: folder, keep: 1, keepDays: undefined, dryRun, now: new Date() });
}

async function eventsIn(archive: string): Promise<number> {
  const { manifest } = JSON.parse(await readFile(join(archive, "manifest.json"), "utf8"));
  return manifest.tables.find(({ name }: { name: string }) => name === "domain_event").rows;
}
