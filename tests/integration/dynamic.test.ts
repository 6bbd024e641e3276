import assert from "node:assert/strict";
import { after, before } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/logins/login.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { assertAppends } from "../support/bootstrap-assertions.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, type TestStack, withCluster } from "../support/stack.ts";
import {
  administratorOf,
  registerDatabasePlugin,
  startVault,
  type TestVault,
  vaultProgram,
  vaultTest,
} from "../support/vault.ts";

/** An issued login. */
interface Issued {
  readonly leaseId: string;
  readonly target: ConnectionTarget & { readonly password: string };
}

let stack: TestStack;
let vault: TestVault;
before(async () => {
  if (vaultProgram === undefined) return;
  [stack, vault] = await Promise.all([makeTestStack(), startVault()]);
  await registerDatabasePlugin(vault);
  await runForData(["bootstrap"], { ...stack, env: administratorOf(vault) });
  await enable();
});
after(async () => {
  for (const part of [vault, stack]) await part?.[Symbol.asyncDispose]();
});

vaultTest(
  "an issued login works like the application's, and shares what it creates with all other logins",
  async () => {
    const [first, second] = [await issue(), await issue()];
    for (const { target } of [first, second]) await assertAppends(target);
    await using one = openConnection(first.target);
    await one.sql`create table read_model.shared (id int primary key)`;
    for (const target of [second.target, await readApplication()]) {
      await using other = openConnection(target);
      await other.sql`insert into read_model.shared select coalesce(max(id), 0) + 1 from read_model.shared`;
      await other.sql`alter table read_model.shared add column if not exists note text`;
    }
    for (const { leaseId } of [first, second]) await revoke(leaseId);
    await using application = openConnection(await readApplication());
    const [row] = await application.sql`
    select tableowner::text as owner, (select count(*)::int from read_model.shared) as rows
    from pg_tables where tablename = 'shared'`;
    assert.deepEqual({ ...row }, { owner: "cqrs_app", rows: 2 });
  },
);

vaultTest("revoking a login ends its sessions, drops it, and transfers what it owns to the application", async () => {
  const { leaseId, target } = await issue();
  await using session = openConnection(target);
  await session.sql`select 1`;
  await using owning = openConnection(target);
  await owning.sql`set role none`;
  await owning.sql`create table read_model.mine ()`;
  await revoke(leaseId);
  await assert.rejects(
    async () => await session.sql`select pg_sleep(0)`,
    /password authentication failed|CONNECTION|terminat/,
  );
  await assert.rejects(checkLogin(target), { code: "AUTHENTICATION" });
  await using admin = openConnection(await stack.administrator());
  const [row] = await admin.sql`
    select (select count(*)::int from pg_stat_activity where usename = ${target.user}) as sessions,
      (select count(*)::int from pg_roles where rolname = ${target.user}) as roles,
      (select tableowner::text from pg_tables where tablename = 'mine') as owner`;
  assert.deepEqual({ ...row }, { sessions: 0, roles: 0, owner: "cqrs_app" });
});

vaultTest("the engine's login has only the privileges it needs, and only Vault has its password", async () => {
  await using admin = openConnection(await stack.administrator());
  const [row] = await admin.sql`
    select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, rolpassword like 'SCRAM-SHA-256$%' as "isVerifier",
      pg_has_role('cqrs_vault', 'cqrs_owner', 'MEMBER') as "isOwner"
    from pg_authid where rolname = 'cqrs_vault'`;
  assert.deepEqual(
    { ...row },
    {
      rolsuper: false,
      rolcreaterole: true,
      rolcreatedb: false,
      rolbypassrls: false,
      rolreplication: false,
      isVerifier: true,
      isOwner: false,
    },
  );
  const { body } = await vault.request("GET", "database/config/cqrs");
  assert.equal(body.data.connection_details.username, "cqrs_vault");
  assert.equal(body.data.connection_details.password, undefined);
});

vaultTest("the policy of an application allows issuing logins and nothing else", async () => {
  const { body } = await vault.request("GET", "sys/policies/acl/cqrs-dynamic");
  const token = await vault.tokenFor(body.data.policy);
  const { status, body: issued } = await vault.request("GET", "database/creds/cqrs-app", undefined, token);
  assert.equal(status, 200);
  const renewal = await vault.request("PUT", "sys/leases/renew", { lease_id: issued.lease_id }, token);
  assert.equal(renewal.status, 200);
  for (const [method, path] of [
    ["GET", "database/config/cqrs"],
    ["POST", "database/roles/cqrs-app"],
    ["POST", "database/rotate-root/cqrs"],
    ["GET", "secret/data/cqrs-spike/database"],
    ["GET", "sys/policies/acl/cqrs-dynamic"],
  ] as const) {
    assert.equal((await vault.request(method, path, method === "POST" ? {} : undefined, token)).status, 403, path);
  }
  await revoke(issued.lease_id);
});

vaultTest("secrets dynamic changes the engine's password when run again, and keeps issued logins", async () => {
  const { target, leaseId } = await issue();
  const before = await readVerifier();
  await enable();
  assert.notEqual(await readVerifier(), before);
  await checkLogin(target);
  await revoke(leaseId);
  await revoke((await issue()).leaseId);
});

vaultTest(
  "sweep drops expired logins that Vault has forgotten, together with their sessions, and no others",
  async () => {
    const [forgotten, good] = [await issue(), await issue()];
    await using session = openConnection(forgotten.target);
    await session.sql`create table read_model.kept ()`;
    await using admin = openConnection(await stack.administrator());
    assert.deepEqual(await sweep(), []);
    await admin.sql.unsafe(`alter role "${forgotten.target.user}" valid until '2001-01-01'`);
    await admin.sql.unsafe(`create role bystander login valid until '2001-01-01' in role cqrs_app`);
    assert.deepEqual(await sweep(), [forgotten.target.user]);
    assert.deepEqual(await sweep(), []);
    const [row] = await admin.sql`
    select (select count(*)::int from pg_stat_activity where usename = ${forgotten.target.user}) as sessions,
      (select tableowner::text from pg_tables where tablename = 'kept') as owner`;
    assert.deepEqual({ ...row }, { sessions: 0, owner: "cqrs_app" });
    await assertAppends(good.target);
    await revoke(good.leaseId);
    await revoke(forgotten.leaseId);
    await admin.sql`drop role bystander`;
  },
);

/** The application's own login, from Vault. */
async function readApplication(): Promise<ConnectionTarget & { readonly password: string }> {
  const { body } = await vault.request("GET", "secret/data/cqrs-spike/database-local");
  const { host, port, database, username, password } = body.data.data;
  return { host, port: Number(port), database, user: username, password };
}

vaultTest(
  "secrets dynamic requires a Vault and an administrator's token; secrets sweep requires secrets dynamic",
  async () => {
    await using empty = await withCluster();
    const noVault = await runScript(["secrets", "dynamic"], empty);
    assert.deepEqual([noVault.exitCode, /error: There is no Vault/.test(noVault.stderr)], [2, true], noVault.stderr);
    const noIssuer = await runScript(["secrets", "sweep"], empty);
    assert.deepEqual([noIssuer.exitCode, /fix: Run bun run secrets dynamic/.test(noIssuer.stderr)], [3, true]);
    const tooNarrow = await runScript(["secrets", "dynamic"], { ...stack, env: { VAULT_ADDR: vault.address } });
    assert.deepEqual([tooNarrow.exitCode, /sys\/mounts\/database/.test(tooNarrow.stderr)], [6, true], tooNarrow.stderr);
  },
);

async function enable(): Promise<void> {
  const env = administratorOf(vault);
  assert.deepEqual(await runForData(["secrets", "dynamic"], { ...stack, env }), {
    path: "database/creds/cqrs-app",
    policy: "cqrs-dynamic",
  });
}

async function sweep(): Promise<string[]> {
  return runForData(["secrets", "sweep"], { ...stack, env: { VAULT_ADDR: vault.address } });
}

async function issue(): Promise<Issued> {
  const { status, body } = await vault.request("GET", "database/creds/cqrs-app");
  assert.equal(status, 200, JSON.stringify(body));
  const target = { ...(await readApplication()), user: body.data.username, password: body.data.password };
  return { leaseId: body.lease_id, target };
}

async function revoke(leaseId: string): Promise<void> {
  const { status, body } = await vault.request("PUT", "sys/leases/revoke", { lease_id: leaseId, sync: true });
  assert.equal(status, 204, JSON.stringify(body));
}

async function readVerifier(): Promise<string> {
  await using admin = openConnection(await stack.administrator());
  const [row] = await admin.sql<{ verifier: string }[]>`
    select rolpassword as verifier from pg_authid where rolname = 'cqrs_vault'`;
  return row?.verifier ?? "";
}
