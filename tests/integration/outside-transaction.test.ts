import assert from "node:assert/strict";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { errorCode } from "../../scripts/lib/postgres/failure.ts";
import { cannotRunInTransaction, endsTransaction } from "../../scripts/lib/schema/outside-transaction.ts";
import { parseStatements } from "../../scripts/lib/schema/statements.ts";
import { withDatabase } from "../support/database.ts";
import { whyUnavailable, withLaterServer } from "../support/server-version.ts";

const activeTransaction = "25001";

/** Refused in a transaction block. */
const refused = [
  "create database other",
  "drop database if exists other",
  "alter database postgres set tablespace pg_default",
  "alter database postgres tablespace = pg_default",
  "create tablespace other location '/nowhere'",
  "drop tablespace if exists other",
  "alter system set work_mem = '1MB'",
  "alter system reset all",
  "vacuum",
  "vacuum full t",
  "vacuum (analyze, verbose) t",
  "cluster",
  "cluster verbose",
  "discard all",
  "create index concurrently i on t (a)",
  "create unique index concurrently if not exists i on t (a)",
  "drop index concurrently t_a",
  "drop index concurrently if exists nothing",
  "reindex schema public",
  "reindex system",
  "reindex database",
  "reindex table concurrently t",
  "reindex (concurrently) index t_a",
  "reindex (verbose, concurrently true) index t_a",
  "reindex (concurrently 1) table t",
  "alter table p detach partition p1 concurrently",
  "create subscription other connection 'port=1' publication q",
  "create subscription other connection 'port=1' publication q with (create_slot)",
  "create subscription other connection 'port=1' publication q with (create_slot = on, enabled = false)",
  "alter subscription s refresh publication",
  "alter subscription s refresh publication with (copy_data = false)",
  "alter subscription s set publication r",
  "alter subscription s add publication r with (refresh)",
  "alter subscription s drop publication q with (refresh = true, copy_data = off)",
  "drop subscription s",
  "commit prepared 'x'",
  "rollback prepared 'x'",
];

/** Refused by PostgreSQL 18; 16 does not know the options. */
const refusedLater = ["alter subscription unused set (failover)", "alter subscription unused set (two_phase = false)"];
const permittedLater = ["alter subscription unused set (two_phase = true)"];

const permitted = [
  "alter database postgres set work_mem = '4MB'",
  "alter database postgres with connection limit 100",
  "analyze t",
  "checkpoint",
  "cluster t using t_a",
  "discard plans",
  "discard sequences",
  "discard temp",
  "create index i on t (a)",
  "drop index t_a",
  "reindex table t",
  "reindex index t_a",
  "reindex (concurrently false) table t",
  "reindex (concurrently off) index t_a",
  "alter table p detach partition p1",
  "create subscription other connection 'port=1' publication q with (connect = false)",
  "create subscription other connection 'port=1' publication q with (connect = off, slot_name = none)",
  "alter subscription s disable",
  "alter subscription s set publication r with (refresh = false)",
  "alter subscription s add publication r with (refresh = off)",
  "alter subscription unused set (slot_name = none)",
  "alter type e add value 'b'",
  "alter table t set (fillfactor = 90)",
  "lock table t",
  "listen x",
  "savepoint x",
  "set transaction read write",
  "refresh materialized view m",
];

const setUp = `
  create table t (a int constraint t_pkey primary key);
  create index t_a on t (a);
  create table p (a int) partition by list (a);
  create table p1 partition of p for values in (1);
  create materialized view m as select 1 as a;
  create type e as enum ('a');
  create subscription unused connection 'port=1' publication q with (connect = false);
  create subscription s connection 'port=1' publication q, z with (connect = false);
  alter subscription s enable`;

/** @returns the SQLSTATE of a statement in a transaction block, which is rolled back */
async function stateInBlock(sql: Sql, statement: string): Promise<string | undefined> {
  let state: string | undefined;
  const block = sql.begin(async (tx) => {
    await tx.unsafe(setUp).simple();
    state = await tx
      .unsafe(statement)
      .simple()
      .then(() => undefined, errorCode);
    throw new Error("rolled back");
  });
  await block.catch(() => {});
  return state;
}

async function cannotRun(statement: string): Promise<boolean> {
  const [parsed] = await parseStatements(statement);
  assert.ok(parsed !== undefined);
  return cannotRunInTransaction(parsed);
}

async function compareWithServer(sql: Sql, statements: readonly string[], expected: string | undefined): Promise<void> {
  for (const statement of statements) {
    assert.equal(await stateInBlock(sql, statement), expected, statement);
    assert.equal(await cannotRun(statement), expected === activeTransaction, statement);
  }
}

test("cannotRunInTransaction() agrees with PostgreSQL 16", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await compareWithServer(database.admin, refused, activeTransaction);
  await compareWithServer(database.admin, permitted, undefined);
});

const reason = whyUnavailable(18);
const name = "cannotRunInTransaction() agrees with PostgreSQL 18";
test(reason === undefined ? name : `${name} (${reason})`, { skip: reason !== undefined }, async () => {
  await using server = await withLaterServer(18);
  await using connection = openConnection({ ...server.administrator, database: "postgres" });
  await compareWithServer(connection.sql, [...refused, ...refusedLater], activeTransaction);
  await compareWithServer(connection.sql, [...permitted, ...permittedLater], undefined);
});

const controls: readonly (readonly [string, boolean])[] = [
  ["begin", true],
  ["begin isolation level serializable", true],
  ["start transaction read only", true],
  ["commit", true],
  ["commit and chain", true],
  ["end", true],
  ["end work", true],
  ["rollback", true],
  ["rollback and no chain", true],
  ["abort", true],
  ["prepare transaction 'x'", true],
  ["commit prepared 'x'", true],
  ["rollback prepared 'x'", true],
  ["savepoint x", false],
  ["release x", false],
  ["rollback to savepoint x", false],
  ["set transaction isolation level serializable", false],
  ["prepare p as select 1", false],
];

for (const [statement, expected] of controls) {
  test(`endsTransaction() is ${expected} for ${statement}`, async () => {
    const [parsed] = await parseStatements(statement);
    assert.equal(parsed !== undefined && endsTransaction(parsed), expected);
  });
}
