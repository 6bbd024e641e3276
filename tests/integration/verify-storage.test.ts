import assert from "node:assert/strict";
import { chmod, chown, open, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { bootstrapTestStack, openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";
import { check, fails, passes } from "../support/verify.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack?.[Symbol.asyncDispose]());

async function asAdministrator<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result> {
  await using connection = openConnection(await stack.administrator());
  return await work(connection.sql);
}

/** Overwrites bytes in the middle of a table's first page, as a broken disk does. */
async function damage(table: string): Promise<void> {
  const path = await asAdministrator(async (sql) => {
    await sql
      .unsafe(`create table ${table} as select repeat('x', 100) from generate_series(1, 20); checkpoint`)
      .simple();
    const [row] = await sql<{ path: string }[]>`select pg_relation_filepath(${table}::regclass) as path`;
    return row?.path ?? "";
  });
  await stopStack(await openTestStack(stack.stackDir), silentRun);
  await using file = await open(join(stack.dataDir, path), "r+");
  await file.write(Buffer.from("damaged"), 0, 7, 8000);
  await file.sync();
}

test("health fails once a page with a wrong checksum was read", async () => {
  await damage("read_model.damaged");
  await bootstrapTestStack(stack.stackDir);
  assert.equal((await check(stack, "health")).result, "ok", "nobody has read it yet");
  await asAdministrator(async (sql) => {
    await assert.rejects(sql`select * from read_model.damaged`, { code: "XX001" });
  });
  // The session reports it to the statistics when it ends.
  const seen = () =>
    asAdministrator(async (sql) => {
      const [row] = await sql<{ count: number }[]>`
        select sum(checksum_failures)::int as count from pg_stat_database`;
      return row?.count || undefined;
    });
  assert.equal(await pollUntil(seen, { timeoutMs: 30_000, intervalMs: 50 }), 1);
  const { fix } = await fails("health", /^1 pages had a wrong checksum: the disk or memory is damaged$/, stack);
  assert.match(fix ?? "", /backup, then move to another machine/);
  await asAdministrator(async (sql) => {
    await sql.unsafe("drop table read_model.damaged; select pg_stat_reset()").simple();
  });
  await passes(stack);
});

test("data-directory fails if it belongs to another user than the server's", {
  skip: process.getuid?.() === 0 ? false : "requires root",
}, async () => {
  const { uid, gid } = await stat(stack.dataDir);
  for (const other of [uid + 1, 65_534]) {
    // With 0700, the server itself could not enter it any more.
    await chmod(stack.dataDir, 0o711);
    await chown(stack.dataDir, other, gid);
    const why = new RegExp(`its mode is 0711, not 0700[^]*it belongs to uid ${other}, but the server runs as ${uid}`);
    const { fix, evidence } = await fails("data-directory", why, stack);
    assert.ok(evidence.startsWith(`${stack.dataDir}, owner ${other}, mode 0711`));
    assert.ok(fix?.includes(`chown ${uid} '${stack.dataDir}' && chmod 700`));
  }
  await chown(stack.dataDir, uid, gid);
  await chmod(stack.dataDir, 0o700);
  assert.equal((await check(stack, "data-directory")).result, "ok");
});
