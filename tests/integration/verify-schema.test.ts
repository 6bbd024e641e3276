import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Verification } from "../../scripts/lib/verify/verify.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { check, fails, findCheck } from "../support/verify.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

test("schemas fails if one is missing, or belongs to another role", async () => {
  await database.admin.unsafe("drop schema read_model_next; alter schema command_model owner to postgres").simple();
  await fails(
    "schemas",
    /^the schema read_model_next is missing\nthe schema command_model belongs to postgres/m,
    database,
  );
  await database.admin
    .unsafe(`
    create schema read_model_next authorization cqrs_owner;
    grant usage, create on schema read_model_next to cqrs_app;
    alter schema command_model owner to cqrs_owner`)
    .simple();
  assert.equal((await check(database, "schemas")).result, "ok");
});

test("extensions fails if one that the server has is not installed", async () => {
  await database.admin.unsafe(`drop extension "uuid-ossp"`);
  const { fix } = await fails("extensions", /^the extension uuid-ossp is missing$/, database);
  const statement = /run: (.*)$/.exec(fix ?? "")?.[1] ?? "";
  await database.admin.begin(async (tx) => {
    await tx.unsafe("set local role cqrs_owner");
    await tx.unsafe(statement);
  });
  assert.equal((await check(database, "extensions")).result, "ok");
});

test("migrations fails if a file is pending, and if one was edited after it was applied", async () => {
  const routine = "routines/functions/event_store.append.sql";
  await database.admin`
    delete from public.schema_migration where name = ${routine}`;
  await fails("migrations", /^routines\/functions\/event_store\.append\.sql is pending$/m, database);
  assert.match((await check(database, "drift")).evidence, /^not checked: the files and the ledger differ$/);
  await runForData(["schema", "apply", "--database", database.name], database);
  assert.equal((await check(database, "migrations")).result, "ok");

  await database.admin`
    update public.schema_migration set checksum = repeat('0', 64) where name = 'migrations/0001-schemas.sql'`;
  const { evidence } = await fails("migrations", /Applied migrations must not change/, database);
  assert.equal(evidence, "migrations/0001-schemas.sql was edited after it was applied");
});

test("drift fails for an object that is missing, but only once the reference is in the cache", async () => {
  await using other = await withDatabase();
  await using cache = await withFolder();
  const options = { ...other, env: { XDG_CACHE_HOME: cache.dir } };
  const words = ["verify", "--database", other.name];
  const { evidence, result } = findCheck(await runForData<Verification>(words, options), "drift");
  assert.equal(result, "skipped");
  assert.match(evidence, /^not checked: there is nothing to compare with until you run bun run schema status --drift$/);
  await runForData(["schema", "status", "--drift", "--database", other.name], options);
  await other.sql`create table read_model.of_application (id int)`;
  await other.admin`grant execute on function event_store.redact_event to pg_monitor`;
  const compared = findCheck(await runForData<Verification>(words, options), "drift");
  assert.equal(compared.result, "ok", compared.why ?? "");
  assert.match(compared.evidence, /; 2 objects or grants of others$/);

  await other.admin`drop index event_store.domain_event_correlation_id_idx`;
  const run = await runScript([...words, "--json"], options);
  assert.equal(run.exitCode, 11, run.stderr);
  const { data } = JSON.parse(run.stdout) as { readonly data: Verification };
  const failed = findCheck(data, "drift");
  assert.equal(failed.result, "failed");
  assert.equal(failed.why, "missing: INDEX event_store.domain_event_correlation_id_idx");
});

async function withFolder(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-cache-"));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}
