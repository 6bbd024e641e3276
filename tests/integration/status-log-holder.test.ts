// `status` names the transaction that keeps readers from stored events, and the server limits forgotten ones.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { append } from "../support/append.ts";
import { withArchives } from "../support/archive.ts";
import { withDatabase } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { withCluster } from "../support/stack.ts";

test("status names the open append that keeps readers from stored events, as text and as JSON", async () => {
  await using stack = await withCluster();
  await using writer = openConnection(await stack.application(), { applicationName: "billing" });
  await using other = openConnection(await stack.application());
  await inTransaction(writer.sql, async (tx) => {
    await append(tx, {});
    assert.equal((await runForData<StackStatus>(["status"], stack)).logHolder, null, "nothing is stored beyond it");
    await append(other.sql, {});
    const { logHolder } = await runForData<StackStatus>(["status"], stack);
    const { pid, since, ...rest } = logHolder ?? assert.fail("it was not found");
    assert.deepEqual(rest, {
      gid: null,
      login: "cqrs_user",
      applicationName: "billing",
      state: "idle in transaction",
    });
    assert.ok(Date.parse(since ?? "") <= Date.now());
    const { stdout } = await runScript(["status"], stack);
    const line = `log held by +cqrs_user \\(billing\\), pid ${pid}, idle in transaction since \\d{4}-\\d\\d-\\d\\dT\\S+`;
    assert.match(stdout, new RegExp(`^${line}$`, "m"));
  });
  assert.equal((await runForData<StackStatus>(["status"], stack)).logHolder, null);
  // A session that takes a lock of the log without a transaction.
  await writer.sql`select pg_advisory_lock_shared(229::bigint << 48)`;
  const { stdout } = await runScript(["status"], stack);
  assert.match(stdout, /^log held by +cqrs_user \(billing\), pid \d+, idle$/m);
  await writer.sql`select pg_advisory_unlock_shared(229::bigint << 48)`;
  assert.doesNotMatch((await runScript(["status"], stack)).stdout, /log held by/);
});

test("status names a prepared transaction, and of several the one that holds the log back furthest", async () => {
  await using stack = await withCluster();
  await using before = openConnection(await stack.administrator());
  await before.sql`alter system set max_prepared_transactions = 5`;
  await runForData(["stop"], stack);
  await runForData(["bootstrap"], stack);
  await using writer = openConnection(await stack.administrator());
  const session = await writer.sql.reserve();
  await session`begin`.simple();
  await append(session, {});
  await session`prepare transaction 'left behind'`.simple();
  session.release();
  await inTransaction(writer.sql, async (tx) => {
    await append(tx, {});
    await using other = openConnection(await stack.application());
    await append(other.sql, {});
    const { logHolder } = await runForData<StackStatus>(["status"], stack);
    assert.deepEqual(
      { ...logHolder, since: typeof logHolder?.since },
      { pid: null, gid: "left behind", login: "postgres", applicationName: null, state: "prepared", since: "string" },
    );
  });
  const { stdout } = await runScript(["status"], stack);
  assert.match(stdout, /^log held by +postgres, prepared transaction left behind since \d{4}-/m);
  await writer.sql`rollback prepared 'left behind'`.simple();
});

test("status works in a database whose schema has no event store yet", async () => {
  await using stack = await withCluster();
  await using admin = openConnection(await stack.administrator());
  await admin.sql`drop function event_store.horizon_holder() cascade`;
  assert.equal((await runForData<StackStatus>(["status"], stack)).logHolder, null);
});

test("the server ends forgotten transactions within minutes, and notices lost clients", async () => {
  await using database = await withDatabase();
  const rows = await database.sql<{ name: string; seconds: number }[]>`
    select name, setting::integer / (case unit when 'ms' then 1000 else 1 end) as seconds from pg_settings
    where name in ('idle_in_transaction_session_timeout', 'client_connection_check_interval')
      or name like 'tcp_keepalives%'
    order by name`;
  assert.deepEqual(Object.fromEntries(rows.map(({ name, seconds }) => [name, seconds])), {
    client_connection_check_interval: 10,
    idle_in_transaction_session_timeout: 300,
    tcp_keepalives_count: 3,
    tcp_keepalives_idle: 60,
    tcp_keepalives_interval: 10,
  });
});

test("a backup and a restore outlast the limit for idle transactions", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  await append(database.sql, {});
  await database.admin`alter system set idle_in_transaction_session_timeout = '100ms'`;
  await database.admin`select pg_reload_conf()`;
  try {
    // Blocks this process, and with it the transaction that reports the progress.
    const onProgress = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    await archives.backUp({ onProgress });
    await archives.restore({ onProgress });
  } finally {
    await database.admin`alter system reset idle_in_transaction_session_timeout`;
    await database.admin`select pg_reload_conf()`;
  }
});
