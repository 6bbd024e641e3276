import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { openEventStore } from "../../scripts/lib/event-store/store.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/logins/login.ts";
import type { Rotation } from "../../scripts/lib/stack/rotate.ts";
import {
  assertRotationComplete,
  assertSecretsLogIn,
  openLogins,
  otherLogin,
  type RotatedStack,
  readAsApplication,
  readLogin,
  rotateTestStack,
} from "../support/logins.ts";
import { runForData, runScript, startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";
import { administratorOf, startVault, type TestVault, vaultProgram, vaultTest } from "../support/vault.ts";

let stack: TestStack & RotatedStack;
let vault: TestVault;
before(async () => {
  if (vaultProgram === undefined) return;
  const [made, started] = await Promise.all([makeTestStack(), startVault()]);
  vault = started;
  await runForData(["bootstrap"], { ...made, env: administratorOf(vault) });
  // From here on, the AppRole delivered to the stack is sufficient.
  stack = { ...made, env: { VAULT_ADDR: vault.address }, [Symbol.asyncDispose]: () => made[Symbol.asyncDispose]() };
});
after(async () => {
  for (const part of [stack, vault]) await part?.[Symbol.asyncDispose]();
});

vaultTest("secrets rotate switches to the other login in Vault, with the stack's own AppRole", async () => {
  const first = await readLogin(stack);
  const { login } = await runForData<Rotation>(["secrets", "rotate", "--grace", "1m"], {
    ...stack,
    env: stack.env ?? {},
  });
  assert.equal(login, otherLogin(first.user));
  assert.equal(await assertRotationComplete(stack), login);
  await checkLogin(first);
  const refused = await runScript(["secrets", "rotate"], { ...stack, env: stack.env ?? {} });
  assert.equal(refused.exitCode, 8, refused.stderr);
});

vaultTest("secrets rotate delivers a new secret id, and the application's previous one stays valid", async () => {
  const folder = join(stack.stackDir, "vault/credentials");
  const readFiles = (name: string) => readFile(join(folder, `cqrs-app.${name}`), "utf8");
  await readAsApplication(stack);
  const [role_id, old] = [(await readFiles("role-id")).trim(), (await readFiles("secret-id")).trim()];
  await rotateTestStack(stack, { graceMs: 0 });
  await assert.rejects(readFiles("secret-id"), { code: "ENOENT" });
  assert.match(await readFiles("wrapped"), /"token":/);
  await readAsApplication(stack);
  const renewed = (await readFiles("secret-id")).trim();
  assert.notEqual(renewed, old);
  for (const secret_id of [old, renewed]) {
    const { status } = await vault.request("POST", "auth/approle/login", { role_id, secret_id }, "");
    assert.equal(status, 200);
  }
});

for (const point of ["after login", "after write 1", "before write 2", "before retire"]) {
  vaultTest(`a rotation in Vault killed ${point} leaves valid credentials, and the next run completes it`, async () => {
    const env = { ...stack.env, CQRS_STACK_DIR: stack.stackDir };
    for (const complete of [() => rotateTestStack(stack), () => runForData(["bootstrap"], { ...stack, env })]) {
      const { exitCode } = await startProgram("tests/support/fixtures/rotate-until.ts", [point], { env }).ended;
      assert.notEqual(exitCode, 0, "it was not killed");
      await assertSecretsLogIn(stack);
      await complete();
      await assertRotationComplete(stack);
    }
  });
}

vaultTest("16 connections that read their login from Vault append without a failure during rotations", async () => {
  const stop = new AbortController();
  await rotateTestStack(stack, { graceMs: 0 });
  const credentials = await openLogins(stack);
  const target = await credentials();
  const writers = Array.from({ length: 16 }, async () => {
    let count = 0;
    while (!stop.signal.aborted) {
      await using store = openEventStore({ ...target, maxConnections: 1, credentials });
      for (let call = 0; call < 20; call++, count++) {
        const event = store.sql.json({ event_type: "OrderPlaced", event_data: {} });
        await store.sql`select event_store.append_events('Order', gen_random_uuid(), 0, array[${event}]::jsonb[])`;
      }
    }
    return count;
  });
  for (let rotation = 0; rotation < testRounds(2); rotation++) await rotateAfterGrace();
  stop.abort();
  for (const count of await Promise.all(writers)) assert.ok(count > 0);
});

vaultTest("if Vault is sealed when the secret is written, nothing changes", async () => {
  await rotateTestStack(stack, { graceMs: 0 });
  const before = await readLogin(stack);
  await vault.seal();
  const run = await runScript(["secrets", "rotate", "--timeout", "5s"], { ...stack, env: stack.env ?? {} });
  assert.equal(run.exitCode, 3, run.stderr);
  assert.match(run.stderr, /is sealed/);
  await vault.unseal();
  assert.deepEqual(await readLogin(stack), before);
  await assertRotationComplete(stack);
  await using admin = openConnection(await stack.administrator());
  const sessions = await admin.sql`select from pg_locks where locktype = 'advisory' and classid = ${0x72_6f_74_61}`;
  assert.equal(sessions.length, 0, "the lock ended with the run");
});

async function rotateAfterGrace(): Promise<void> {
  for (;;) {
    try {
      await rotateTestStack(stack, { graceMs: 5000, endGrace: false });
      return;
    } catch (error) {
      if (!(error instanceof ScriptError) || error.code !== "IN_GRACE") throw error;
      await sleep(50);
    }
  }
}
