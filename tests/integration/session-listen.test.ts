import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { beforeForceMs, codeOf, inTime, settle, terminate, until, useGround } from "../support/session.ts";

const ground = useGround();

async function listeners(channel: string): Promise<number[]> {
  const rows = await ground.admin<{ pid: number }[]>`
    select pid from pg_stat_activity where query ilike ${`%listen%${channel}%`} and pid <> pg_backend_pid()`;
  return rows.map(({ pid }) => pid);
}

/** Notifies until a notification arrives: one that is sent while nobody listens is lost. */
async function assertHears(heard: readonly string[], channel: string, text: string): Promise<void> {
  await until(async () => {
    await ground.admin`select pg_notify(${channel}, ${text})`;
    await sleep(5);
    return heard.includes(text);
  });
}

const faults: Record<string, (channel: string) => Promise<void>> = {
  "was cut": async () => ground.proxy.cut(),
  "was terminated": async (channel) => {
    for (const pid of await listeners(channel)) await terminate(ground.admin, pid);
  },
  "was cut while the server is away": async () => {
    ground.proxy.refuse(true);
    ground.proxy.cut();
    await sleep(300);
    ground.proxy.refuse(false);
  },
};
for (const [name, fail] of Object.entries(faults)) {
  test(`a channel is listened to again after its connection ${name}, each time`, async () => {
    await using pool = ground.open();
    const heard: string[] = [];
    let listened = 0;
    const channel = `ch_${Object.keys(faults).indexOf(name)}`;
    const listening = pool.sql.listen(
      channel,
      (text) => heard.push(text),
      () => void listened++,
    );
    await inTime(listening);
    await assertHears(heard, channel, "before");
    assert.equal(listened, 1);
    for (let round = 1; round <= 3; round++) {
      await fail(channel);
      await assertHears(heard, channel, `after ${round}`);
    }
    assert.ok(listened >= 4, `${listened}`);
    assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
  });
}

test("listeners of one channel share a connection, and each stops on its own", async () => {
  await using pool = ground.open();
  const heard: Record<string, string[]> = { one: [], two: [] };
  const hear = (name: string) => pool.sql.listen("shared", (text) => heard[name]?.push(text));
  const [one, two] = [await inTime(hear("one")), await inTime(hear("two"))];
  await assertHears(heard["one"] ?? [], "shared", "first");
  await assertHears(heard["two"] ?? [], "shared", "first");
  await inTime(one.unlisten());
  const before = heard["one"]?.length;
  ground.proxy.cut();
  await assertHears(heard["two"] ?? [], "shared", "second");
  assert.equal(heard["one"]?.length, before);
  await inTime(two.unlisten());
});

test("a listener does not keep a pool from ending, also while the server is away", async () => {
  for (const isAway of [false, true]) {
    const pool = ground.open();
    await inTime(pool.sql.listen("ends", () => {}));
    ground.proxy.refuse(isAway);
    if (isAway) ground.proxy.cut();
    await sleep(20);
    await inTime(pool[Symbol.asyncDispose](), beforeForceMs);
    ground.proxy.refuse(false);
    // An attempt that was in flight may have reached the proxy meanwhile.
    await settle();
    const before = ground.proxy.connections;
    await sleep(300);
    assert.equal(ground.proxy.connections, before);
  }
});

test("a pool that has ended listens to nothing", async () => {
  const pool = ground.open();
  await pool.sql.end();
  assert.equal(await codeOf(pool.sql.listen("ended", () => {})), "CONNECTION_ENDED");
});

test("unlisten() ends the attempts to listen again", async () => {
  await using pool = ground.open();
  const { unlisten } = await inTime(pool.sql.listen("gone", () => {}));
  ground.proxy.refuse(true);
  ground.proxy.cut();
  await sleep(50);
  await inTime(unlisten());
  ground.proxy.refuse(false);
  await sleep(300);
  assert.deepEqual(await listeners("gone"), []);
});

test("notify() reaches a listener of the same pool", async () => {
  await using pool = ground.open();
  const heard: string[] = [];
  await inTime(pool.sql.listen("own", (text) => heard.push(text)));
  await notify(pool.sql, "hello");
  await until(() => heard.length === 1);
  assert.deepEqual(heard, ["hello"]);
});

function notify(sql: Sql, text: string): Promise<unknown> {
  return inTime(sql.notify("own", text));
}
