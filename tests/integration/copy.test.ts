import assert from "node:assert/strict";
import { test } from "node:test";
import { copyIn, copyOut } from "../../scripts/lib/archive/copy.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { testRounds } from "../support/runtime.ts";

// With the driver's streams alone, each of these hangs, loses an error or ends the process.

test("copyIn() rejects with the server's error for a bad row, and the connection can be reused", async () => {
  await using database = await withDatabase();
  await using single = openConnection(database.administrator);
  await single.sql`create temporary table number (value integer not null)`;
  for (let round = 0; round < testRounds(5); round++) {
    const rows = "1\n".repeat(20_000);
    await assert.rejects(
      copyIn(single.sql, "copy number from stdin", pieces(rows, "nothing\n", rows)),
      /invalid input/,
    );
    await assert.rejects(copyIn(single.sql, "copy number from stdin", pieces("nothing\n")), /invalid input/);
    assert.equal(await copyIn(single.sql, "copy number from stdin", pieces("1\n", "2\n3", "\n")), 3);
  }
});

test("copyIn() rejects with the error of its source, and nothing is stored", async () => {
  await using database = await withDatabase();
  await using single = openConnection(database.administrator);
  await single.sql`create temporary table number (value integer not null)`;
  await assert.rejects(copyIn(single.sql, "copy number from stdin", failing()), /no more/);
  const [row] = await single.sql`select count(*)::int as count from number`;
  assert.equal(row?.["count"], 0);
});

test("copyOut() finishes for an empty table, and for many large ones in turn on one connection", async () => {
  await using database = await withDatabase();
  await using single = openConnection(database.administrator);
  assert.equal(await countRows(single.sql, "copy (select where false) to stdout"), 0);
  for (let round = 0; round < testRounds(20); round++) {
    const rows = await countRows(single.sql, "copy (select repeat('x', 200) from generate_series(1, 5000)) to stdout");
    assert.equal(rows, 5000);
  }
});

test("copyOut() leaves a reusable connection if its rows cannot be written", async () => {
  await using database = await withDatabase();
  await using single = openConnection(database.administrator);
  const statement = "copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout";
  const [before] = await single.sql`select pg_backend_pid() as pid`;
  for (let round = 0; round < testRounds(3); round++) {
    await assert.rejects(
      copyOut(single.sql, statement, () => {
        throw new Error("the disk is full");
      }),
      /the disk is full/,
    );
    assert.equal(await countRows(single.sql, "copy (select 1) to stdout"), 1);
    const [after] = await single.sql`select pg_backend_pid() as pid`;
    assert.deepEqual(after, before);
  }
});

test("copyOut() and copyIn() reject if their session is ended midway, and nothing else is thrown", async () => {
  await using database = await withDatabase();
  for (let round = 0; round < testRounds(2); round++) {
    await assert.rejects(
      endedInTheMiddle(database, (sql, end) => copyOut(sql, manyRows, end)),
      isLost,
    );
    await assert.rejects(
      endedInTheMiddle(database, async (sql, end) => {
        await sql`create temporary table number (value text)`;
        return copyIn(sql, "copy number from stdin", endless(end));
      }),
      isLost,
    );
  }
});

const manyRows = "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout";

async function endedInTheMiddle(
  database: TestDatabase,
  work: (sql: Sql, end: () => Promise<void>) => Promise<unknown>,
): Promise<void> {
  const controller = new AbortController();
  await using single = openConnection(database.administrator, { signal: controller.signal });
  // The driver would wait for the ended session until it is aborted.
  using _closing = { [Symbol.dispose]: () => controller.abort() };
  const [row] = await single.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  let isEnded = false;
  await work(single.sql, async () => {
    if (isEnded) return;
    isEnded = true;
    await database.admin`select pg_terminate_backend(${row?.pid ?? 0})`;
  });
}

function isLost(error: unknown): boolean {
  return ["57P01", "CONNECTION_CLOSED", "ECONNRESET", "EPIPE"].includes((error as { code: string }).code);
}

async function countRows(sql: Sql, statement: string): Promise<number> {
  let rows = 0;
  const count = await copyOut(sql, statement, (piece) => {
    rows += piece.toString("latin1").split("\n").length - 1;
  });
  assert.equal(count, rows);
  return rows;
}

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

async function* failing(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("1\n");
  throw new Error("no more");
}

async function* endless(onPiece: () => Promise<void>): AsyncGenerator<Uint8Array> {
  for (;;) {
    yield Buffer.from("x\n".repeat(10_000));
    await onPiece();
  }
}
