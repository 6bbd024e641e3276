import assert from "node:assert/strict";
import { chmod, link, readFile, rename, rm, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import { append } from "../support/append.ts";
import { runForData } from "../support/run-script.ts";
import { bootstrapTestStack, type TestStack, withCluster } from "../support/stack.ts";
import { check, fails, passes } from "../support/verify.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

async function asAdministrator<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result> {
  await using admin = openConnection(await stack.administrator());
  return await work(admin.sql);
}

/** Changes that SQL makes and that bootstrap or SQL undoes. */
const damages: readonly (readonly [id: string, why: RegExp, damage: string, undo?: string])[] = [
  ["roles", /^bootstrap would report: repaired role cqrs_user$/, "alter role cqrs_user createrole"],
  ["roles", /^bootstrap would report: made cqrs_user a member of cqrs_app$/, "revoke cqrs_app from cqrs_user"],
  ["roles", /^bootstrap would report: created role cqrs_user/, "alter role cqrs_user rename to gone", "drop role gone"],
  [
    "roles",
    /^bootstrap would run: revoke all on database "cqrs_db" from public$/m,
    "grant create on database cqrs_db to public",
  ],
  ["least-privilege", /^the application: set local role cqrs_owner: is allowed$/m, "grant cqrs_owner to cqrs_user"],
  [
    "least-privilege",
    /^the application's login itself: create role verify_probe: is allowed$/m,
    "alter role cqrs_user superuser",
  ],
  [
    "least-privilege",
    /^the application: insert into event_store\.domain_event .*: is allowed\n.*cqrs_app has the privilege INSERT on/s,
    "grant insert on event_store.domain_event to cqrs_app",
    "revoke insert on event_store.domain_event from cqrs_app",
  ],
  [
    "least-privilege",
    /^the application: truncate event_store\.domain_event: fails with UE006$/m,
    "grant truncate on event_store.domain_event to cqrs_app",
    "revoke truncate on event_store.domain_event from cqrs_app",
  ],
  [
    "least-privilege",
    /^the application: explain select event_store\.begin_epoch\('verify'\): is allowed$/m,
    "grant execute on function event_store.begin_epoch to cqrs_app",
    "revoke execute on function event_store.begin_epoch from cqrs_app",
  ],
  [
    "least-privilege",
    /^cqrs_app_owner: update public\.schema_migration set checksum = checksum where false: is allowed$/m,
    "grant select, update on public.schema_migration to cqrs_app_owner",
    "revoke all on public.schema_migration from cqrs_app_owner",
  ],
  [
    "least-privilege",
    /^public has the privilege UPDATE on event_store\.event_stream$/m,
    "grant update (version) on event_store.event_stream to public",
    "revoke update (version) on event_store.event_stream from public",
  ],
  [
    "least-privilege",
    /^the application: explain select event_store\.append_events.*: fails with 42501$/,
    "revoke execute on function event_store.append_events from cqrs_app",
    "grant execute on function event_store.append_events to cqrs_app",
  ],
  ["login", /password authentication failed/, "alter role cqrs_user password 'another'"],
  ["login", /^It does not switch to cqrs_app/, "alter role cqrs_user reset role"],
  [
    "pool",
    /opens up to 10 sessions; cqrs_user has \d, and \d are free/,
    "alter database cqrs_db connection limit 7",
    "alter database cqrs_db connection limit -1",
  ],
  ["pool", /; cqrs_user has \d, and \d are free/, "alter role cqrs_user connection limit 3"],
  [
    "durability",
    /^synchronous_commit of the database is off/,
    "alter database cqrs_db set synchronous_commit = off",
    "alter database cqrs_db reset synchronous_commit",
  ],
  [
    "durability",
    /^full_page_writes is off: a crash of the machine may destroy/,
    "alter system set full_page_writes = off; select pg_reload_conf()",
    "alter system reset full_page_writes; select pg_reload_conf()",
  ],
];

for (const [id, why, damage, undo] of damages) {
  test(`${id} fails after: ${damage}`, async () => {
    const before = await asAdministrator(readLog);
    await asAdministrator((sql) => runEach(sql, damage));
    try {
      const { fix } = await fails(id, why, stack);
      if (undo === undefined) assert.match(fix ?? "", /bootstrap|limit of the login/);
    } finally {
      if (undo !== undefined) await asAdministrator((sql) => runEach(sql, undo));
      await bootstrapTestStack(stack.stackDir);
    }
    assert.equal((await check(stack, id)).result, "ok");
    assert.deepEqual(await asAdministrator(readLog), before, "nothing was written, although it was possible");
  });
}

/** One by one: `alter system` runs in no transaction, and settings take effect with the next statement. */
async function runEach(sql: Sql, statements: string): Promise<void> {
  for (const statement of statements.split("; ")) await sql.unsafe(statement);
}

async function readLog(sql: Sql): Promise<unknown> {
  const [row] = await sql`
    select (select last_value from event_store.domain_event_global_position) as drawn,
      (select count(*) from event_store.log_epoch) as epochs, (select count(*) from event_store.domain_event) as events`;
  return { ...row };
}

test("health fails if an open transaction keeps readers from later events", async () => {
  await using writer = openConnection(await stack.application(), { applicationName: "forgotten" });
  await using other = openConnection(await stack.application());
  const session = await writer.sql.reserve();
  await session.unsafe("begin");
  await session`select event_store.append_events('Order', gen_random_uuid(), 0,
    array['{"event_type": "A", "event_data": {}}']::jsonb[])`;
  await append(other.sql, {});
  assert.equal((await check(stack, "health")).result, "ok", "for a moment");
  const { fix } = await fails("health", /a transaction is open: cqrs_user \(forgotten\), pid /, stack, {
    maxHeldSeconds: 0,
  });
  assert.match(fix ?? "", /^End that session \(select pg_terminate_backend\(\d+\)\)\.$/);
  await session.unsafe("rollback");
  session.release();
});

test("version fails if a newer version has set up the stack", async () => {
  const file = join(stack.stackDir, "state.json");
  const state = await readFile(file, "utf8");
  await writeFile(file, JSON.stringify({ ...JSON.parse(state), version: "99.0.0" }));
  await fails("version", /^cqrs-postgres 99\.0\.0 has set up this stack, and this is the older /, stack);
  await writeFile(file, state);
});

test("identity fails if another folder shares the files of the cluster", async () => {
  const second = join(stack.stackDir, "second");
  await link(join(stack.dataDir, "PG_VERSION"), second);
  await fails("identity", /^another folder has hard links to the files of the cluster/, stack);
  await unlink(second);
});

test("reachable and login fail, and no credentials are sent, if the secret names another port", async () => {
  await using secrets = new FileSecretStore(join(stack.stackDir, "secrets"));
  const { data = {}, version = 0 } = (await secrets.read(secretPaths.applicationLocal)) ?? {};
  await secrets.write(secretPaths.applicationLocal, { ...data, port: "1" }, { cas: version });
  const { evidence, fix } = await fails("reachable", /the credentials were not sent/, stack);
  assert.match(evidence, /listens on port \d+, but the secret names port 1$/);
  assert.match(fix ?? "", /bootstrap/);
  await fails("login", /the credentials were not sent/, stack);
  assert.match(
    (await check(stack, "least-privilege")).evidence,
    /^not checked: the application's login does not work$/,
  );
  await bootstrapTestStack(stack.stackDir);
  await passes(stack);
});

test("credentials fails if a secret is missing, incomplete, or contains another login than the other one", async () => {
  const store = join(stack.stackDir, "secrets");
  await using secrets = new FileSecretStore(store);
  const { data = {}, version = 0 } = (await secrets.read(secretPaths.applicationLocal)) ?? {};
  await secrets.write(secretPaths.applicationLocal, { ...data, username: "cqrs_user_b" }, { cas: version });
  await fails("credentials", /^The two secrets contain different logins/, stack);
  await secrets.write(secretPaths.applicationLocal, { ...data, password: "" }, { cas: version + 1 });
  const incomplete = await fails("credentials", /without it/, stack);
  assert.match(incomplete.evidence, /^The secret secret\/cqrs-spike\/database-local has no password$/);
  await rm(join(store, secretPaths.applicationLocal), { recursive: true });
  const missing = await fails("credentials", /never initialised, or it was emptied/, stack);
  assert.match(missing.evidence, /^There is no secret secret\/cqrs-spike\/database-local$/);
  await bootstrapTestStack(stack.stackDir);
  assert.equal((await check(stack, "credentials")).result, "ok");
});

test("data-directory fails if others may enter it", async () => {
  await chmod(stack.dataDir, 0o750);
  const { fix, evidence } = await fails("data-directory", /^its mode is 0750, not 0700$/, stack);
  assert.ok(evidence.startsWith(stack.dataDir) && fix?.includes("chmod 700"));
  await chmod(stack.dataDir, 0o700);
});

test("disk-space reports a number of bytes, and fails below the limit", async () => {
  assert.match((await check(stack, "disk-space")).evidence, /^\d{6,} bytes \(.*B\) are free$/);
  await fails("disk-space", /are needed/, stack, { minFreeBytes: Number.MAX_SAFE_INTEGER });
});

test("logs fails if the log file cannot be opened", async () => {
  const { evidence } = await check(stack, "logs");
  const [file = ""] = /^.*?\.log/.exec(evidence) ?? [];
  await rename(file, `${file}.moved`);
  await fails("logs", /ENOENT/, stack);
  await rename(`${file}.moved`, file);
});

test("backup is not checked without an archive, and fails until one is verified, when it is old, and when damaged", async () => {
  assert.equal((await check(stack, "backup")).result, "skipped");
  const { archive } = await runForData<{ archive: string }>(["backup"], stack);
  assert.match((await fails("backup", /^No archive was ever verified\.$/, stack)).fix ?? "", /backup verify/);
  await runForData(["backup", "verify"], stack);
  assert.match((await check(stack, "backup")).evidence, /^1 archives, the newest .* old, verified \d+ s ago$/);
  const { fix } = await fails("backup", /is \d+ s old.*the limit is -1 days/, stack, { maxBackupDays: -1 });
  assert.match(fix ?? "", /bun run backup, then/);
  await passes(stack);
  await runForData(["backup"], stack);
  assert.match((await check(stack, "backup")).evidence, /^2 .*not verified; the newest verified one /);
  await writeFile(join(archive, "manifest.json"), "{");
  await fails("backup", /^No archive was ever verified/, stack);
  const newest = (await runForData<{ archive: string }>(["backup"], stack)).archive;
  await writeFile(join(newest, "manifest.json"), "{");
  await fails("backup", /^The newest archive cannot be used: /, stack);
});
