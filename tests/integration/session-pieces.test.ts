// Messages of the server that arrive in small pieces, or several at once: no result is wrong, and no reason is lost.
import assert from "node:assert/strict";
import { connect as dial } from "node:net";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { copyIn, copyOut } from "../../scripts/lib/archive/copy.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { codeOf, failureOf, inTime, terminate, useGround } from "../support/session.ts";
import { openServer } from "../support/wait-server.ts";

const ground = useGround();

/** Passes on what the server sends in pieces of this many bytes; Infinity joins all that arrives within 20 ms. */
function openPiecewise(bytes: number) {
  return openServer((client) => {
    const upstream = dial(ground.database.administrator.port, "127.0.0.1");
    upstream.on("error", () => {});
    client.setNoDelay(true);
    client.on("data", (data: Buffer) => upstream.write(data)).on("close", () => upstream.destroy());
    let sent = Promise.resolve();
    let joined: Buffer[] = [];
    upstream.on("data", (data: Buffer) => {
      if (bytes === Number.POSITIVE_INFINITY) {
        if (joined.length === 0) setTimeout(() => client.write(Buffer.concat(joined.splice(0))), 20);
        joined.push(data);
      } else sent = sent.then(() => writeInPieces(data));
    });
    upstream.on("close", () => {
      const rest = Buffer.concat(joined);
      joined = [];
      void sent.then(() => client.end(rest));
    });

    async function writeInPieces(data: Buffer): Promise<void> {
      for (let at = 0; at < data.length; at += bytes) {
        client.write(data.subarray(at, at + bytes));
        await turn();
      }
    }
  });
}

async function assertRight(sql: Sql): Promise<void> {
  assert.deepEqual([...(await sql`select ${7}::integer as n, 'text' as t`)], [{ n: 7, t: "text" }]);
  const failing = sql`select 1 / (3 - n) from generate_series(1, 5) n`;
  assert.equal(await codeOf(failing), "22012");
  const results = await sql.begin((tx) => [tx`select 1 as n`, tx`select ${2}::integer as n`, tx`select 3 as n`]);
  assert.deepEqual(
    results.map((rows) => [...rows]),
    [[{ n: 1 }], [{ n: 2 }], [{ n: 3 }]],
  );
  const rows = await sql<{ n: number }[]>`select n from generate_series(1, 50) n`;
  assert.equal(
    rows.reduce((sum, { n }) => sum + n, 0),
    1275,
  );
}

for (const bytes of [1, 2, 5, 7, Number.POSITIVE_INFINITY]) {
  test(`a server whose messages arrive in pieces of ${bytes} bytes is understood`, async () => {
    await using server = await openPiecewise(bytes);
    await using pool = openConnection({ ...ground.target, port: server.port });
    await inTime(assertRight(pool.sql));
    const [row] = await pool.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
    const lost = failureOf(
      pool.sql.begin(async (tx) => {
        await terminate(ground.admin, row?.pid ?? 0);
        return tx`select 1`;
      }),
    );
    assert.equal((await lost).code, "57P01");
    await inTime(assertRight(pool.sql));
  });
}

for (const bytes of [3, Number.POSITIVE_INFINITY]) {
  test(`a COPY behind another statement gets its own rows, with messages in pieces of ${bytes} bytes`, async () => {
    await using server = await openPiecewise(bytes);
    await using pool = openConnection({ ...ground.target, port: server.port });
    await inTransaction(pool.sql, async (tx) => {
      const before = tx`select 1 as n`.execute();
      const rows: Buffer[] = [];
      await copyOut(tx, "copy (values (2), (3)) to stdout", (piece) => void rows.push(piece));
      assert.equal(Buffer.concat(rows).toString(), "2\n3\n");
      const again = tx`select 4 as n`.execute();
      assert.equal(await copyIn(tx, "copy notes from stdin", oneRow()), 1);
      assert.deepEqual([...(await before), ...(await again)], [{ n: 1 }, { n: 4 }]);
    });
  });
}

async function* oneRow(): AsyncGenerator<Buffer> {
  yield Buffer.from("1\tfirst\n");
}
