import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createBackup } from "../../scripts/lib/backup/create.ts";
import { type RestorePlan, restoreArchive } from "../../scripts/lib/backup/restore.ts";
import { describeRestore } from "../../scripts/lib/backup/restore-questions.ts";
import { verifyBackup } from "../../scripts/lib/backup/verify.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { restoreDefaults } from "../support/archive.ts";
import { compareDumps, dumpNatively, nativeVersions, programOf, whyNoNativeDump } from "../support/native-dump.ts";
import { objectCases } from "../support/object-cases.ts";
import { failure } from "../support/schema-folder.ts";
import { bootstrapTestStack, openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";

const reason = whyNoNativeDump();
let cluster: TestStack;
let target: ConnectionTarget;
let folder: string;
before(async () => {
  cluster = await withCluster();
  target = await cluster.administrator();
  folder = await mkdtemp(join(tmpdir(), "cqrs-archives-"));
});
after(async () => {
  await cluster[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A restore begins an epoch, and leaves out positions. */
const changedByRestore = ["SEQUENCE SET event_store.domain_event_global_position", "TABLE DATA event_store.log_epoch"];

test(`an archive contains ${objectCases.length} kinds of objects and settings, as native pg_dump shows`, {
  skip: reason ?? false,
}, async () => {
  assert.ok(objectCases.length >= 100);
  await createObjects();
  const dumps = () => nativeVersions.map((version) => dumpNatively(version, target));
  const earlier = dumps();
  const stack = await openTestStack(cluster.stackDir);
  const { omitted } = await createBackup(stack, { to: folder, onProgress: undefined }, silentRun);
  assert.deepEqual(omitted, []);
  const options = { archive: "latest", from: folder, keyFile: undefined };
  await verifyBackup(stack, { ...options, depth: "restored" }, silentRun);
  const restored = await restoreArchive(stack, { ...restoreDefaults, ...options }, silentRun);
  assert.deepEqual(restored.notRefreshed, []);
  for (const [index, later] of dumps().entries()) {
    const changed = compareDumps(earlier[index] ?? new Map(), later);
    assert.deepEqual(changed, changedByRestore, `pg_dump ${nativeVersions[index]}`);
  }
});

test("replication slots stay with the replaced database and are named; --drop-old refuses while one is in use", {
  skip: reason ?? false,
}, async () => {
  await enableLogicalReplication();
  await using administrator = openConnection(target);
  await administrator.sql`select pg_create_logical_replication_slot('cdc', 'pgoutput')`;
  const stack = await openTestStack(cluster.stackDir);
  await createBackup(stack, { to: folder, onProgress: undefined }, silentRun);
  const plans: RestorePlan[] = [];
  const confirm = async (plan: RestorePlan) => void plans.push(plan);
  const restore = (dropOld: boolean) =>
    restoreArchive(stack, { ...restoreDefaults, from: folder, dropOld, confirm }, silentRun);
  const consumer = startConsumer(administrator.sql);
  await consumer.started;
  const error = await failure(restore(true));
  assert.deepEqual([error.code, error.exitCode], ["SLOT_IN_USE", 8]);
  assert.match(error.why ?? "", /: cdc\.$/);
  await consumer.stop();
  await restore(false);
  assert.deepEqual(plans[0]?.slots, ["cdc"]);
  assert.match(describeRestore(plans[0] as RestorePlan).plan, /^replication slots that stay .*: cdc$/m);
  const [slot] = await administrator.sql`select database::text as database from pg_replication_slots`;
  assert.equal(slot?.["database"], plans[0]?.kept);
});

async function enableLogicalReplication(): Promise<void> {
  await using administrator = openConnection(target);
  await administrator.sql`alter system set wal_level = logical`;
  await stopStack(await openTestStack(cluster.stackDir), silentRun);
  await bootstrapTestStack(cluster.stackDir);
  target = await cluster.administrator();
}

/** Follows the slot with a program of PostgreSQL. */
function startConsumer(sql: Sql) {
  const args = [
    "--slot=cdc",
    "--start",
    "--no-loop",
    "--file=-",
    "-o",
    "proto_version=1",
    "-o",
    "publication_names=pub",
  ];
  const env = { PGHOST: target.host, PGPORT: `${target.port}`, PGUSER: target.user, PGPASSWORD: target.password ?? "" };
  const child = spawn(programOf(16, "pg_recvlogical"), [...args, `--dbname=${target.database}`], { env });
  const isActive = async (wanted: boolean) => {
    const [row] = await sql`select active from pg_replication_slots where slot_name = 'cdc'`;
    return row?.["active"] === wanted ? true : undefined;
  };
  const wait = { timeoutMs: 60_000, intervalMs: 20, signal: silentRun.signal };
  return {
    started: pollUntil(() => isActive(true), wait).then((found) => assert.ok(found)),
    async stop() {
      child.kill("SIGKILL");
      assert.ok(await pollUntil(() => isActive(false), wait));
    },
  };
}

async function createObjects(): Promise<void> {
  await using administrator = openConnection(target);
  await administrator.sql.unsafe("create role reporter; create schema x").simple();
  const failed: string[] = [];
  for (const [phrase, sql] of objectCases) {
    const text = sql.replaceAll("$db$", quoteIdentifier(target.database));
    await administrator.sql
      .unsafe(`begin; set local search_path = public; ${text}; reset role; commit`)
      .simple()
      .catch(async (error: Error) => {
        failed.push(`${phrase}: ${error.message}`);
        await administrator.sql.unsafe("rollback; reset role").simple();
      });
  }
  assert.deepEqual(failed, []);
}
