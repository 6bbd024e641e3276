import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/logins/login.ts";
import { lockRotation } from "../../scripts/lib/postgres/logins/twin.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";
import type { Rotation } from "../../scripts/lib/stack/rotate.ts";
import { assertAppends } from "../support/bootstrap-assertions.ts";
import { assertRotationComplete, assertSecretsLogIn, otherLogin, rotateTestStack } from "../support/logins.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { bootstrapTestStack, makeTestStack, type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

test("secrets rotate switches to the other login, and expires the previous one after the grace period", async () => {
  const first = await stack.application();
  const rotation = await runForData<Rotation>(["secrets", "rotate", "--grace", "6s"], stack);
  await checkLogin(first);
  assert.deepEqual(Object.keys(rotation), ["login", "previous", "previousUntil"]);
  assert.deepEqual([rotation.login, rotation.previous], [otherLogin(first.user), first.user]);
  const second = await stack.application();
  assert.notEqual(second.password, first.password);
  assert.equal(await assertRotationComplete(stack), rotation.login);
  await assertAppends(second);
  await until(rotation.previousUntil);
  await assert.rejects(checkLogin(first), { code: "AUTHENTICATION", exitCode: 6 });
  const back = await runForData<Rotation>(["secrets", "rotate", "--grace", "0s"], stack);
  assert.equal(back.login, first.user);
  await assert.rejects(checkLogin(second), { code: "AUTHENTICATION" });
  await assert.rejects(checkLogin(first), { code: "AUTHENTICATION" }, "the first password does not become valid again");
  await assertAppends(await stack.application());
});

test("secrets rotate reports no step of Vault if the secrets are in files", async () => {
  const { exitCode, stderr } = await runScript(["secrets", "rotate", "--yes"], stack);
  assert.equal(exitCode, 0, stderr);
  const steps = stderr
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/:.*/, ""));
  assert.deepEqual(steps, ["login", "secret", "retire"]);
});

test("secrets rotate reports when the previous login expires, or that it has expired", async () => {
  const rotate = (...flags: string[]) => runScript(["secrets", "rotate", "--yes", ...flags], stack);
  const later = await rotate("--grace", "1h");
  assert.equal(later.exitCode, 0, later.stderr);
  assert.match(later.stdout, /^the secret now contains cqrs_user(_b)?; cqrs_user(_b)? expires at \d{4}-\S+Z\n$/);
  assert.match(later.stderr, /^retire: cqrs_user(_b)? expires after the grace period /m);
  const now = await rotate("--grace", "0s");
  assert.equal(now.exitCode, 0, now.stderr);
  assert.match(now.stdout, /^the secret now contains cqrs_user(_b)?; cqrs_user(_b)? can no longer log in\n$/);
  assert.match(now.stderr, /^retire: cqrs_user(_b)? has expired /m);
});

test("a bootstrap keeps the login that a rotation has switched to, and changes nothing", async () => {
  const { login } = await runForData<Rotation>(["secrets", "rotate", "--yes"], stack);
  const run = await runForData<{ isChanged: boolean; user: string }>(["bootstrap"], stack);
  assert.deepEqual([run.isChanged, run.user], [false, login]);
  const { url } = await runForData<{ url: string }>(["status"], stack);
  assert.ok(url.startsWith(`postgres://${login}:****@`), url);
  await assertRotationComplete(stack);
});

test("secrets rotate refuses to reuse a login before its grace period ends, and reports when that is", async () => {
  await runForData<Rotation>(["secrets", "rotate", "--yes"], stack);
  const before = await stack.application();
  const run = await runScript(["secrets", "rotate"], stack);
  assert.equal(run.exitCode, 8, run.stderr);
  assert.match(run.stderr, /error: cqrs_user(_b)? is still valid until \d{4}-\d\d-\d\dT/);
  assert.match(run.stderr, /fix: .*bun run secrets rotate --yes/);
  assert.deepEqual(await stack.application(), before);
});

test("if the secret was lost, bootstrap expires the login that it named", async () => {
  for (let login = ""; !login.endsWith("_b"); ) ({ login } = await rotate());
  const lost = await stack.application();
  await rm(join(stack.stackDir, "secrets/secret"), { recursive: true });
  await runForData(["bootstrap"], { ...stack, env: { CQRS_GRACE: "0s" } });
  assert.equal(await assertRotationComplete(stack), otherLogin(lost.user));
  await assert.rejects(checkLogin(lost), { code: "AUTHENTICATION" });
  assert.equal((await rotate()).login, lost.user);
});

test("secrets rotate does not take over a login that somebody else created", async () => {
  await using admin = openConnection(await stack.administrator());
  const login = await assertRotationComplete(stack);
  await admin.sql.unsafe(`alter role ${otherLogin(login)} valid until 'infinity'`);
  const run = await runScript(["secrets", "rotate", "--yes"], stack);
  assert.equal(run.exitCode, 8, run.stderr);
  assert.match(run.stderr, /error: Cannot rotate to cqrs_user(_b)?: it is an active login/);
  await bootstrapTestStack(stack.stackDir);
  await admin.sql.unsafe(`drop role ${otherLogin(login)}`);
  assert.equal((await rotate()).login, otherLogin(login));
});

test("secrets rotate reports a stopped server, and a password fixed by POSTGRES_PASSWORD", async () => {
  await using empty = await makeTestStack();
  const stopped = await runScript(["secrets", "rotate"], empty);
  assert.equal(stopped.exitCode, 3);
  assert.match(stopped.stderr, /fix: Run bun run bootstrap/);
  const fixed = await runScript(["secrets", "rotate"], { ...stack, env: { POSTGRES_PASSWORD: "chosen" } });
  assert.equal(fixed.exitCode, 2);
  assert.match(fixed.stderr, /POSTGRES_PASSWORD sets a fixed password/);
});

test("of two concurrent rotations one proceeds; the other waits for it and is then refused", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await rotate(0);
    const runs = await Promise.all([1, 2].map(() => runScript(["secrets", "rotate"], stack)));
    assert.deepEqual(runs.map(({ exitCode }) => exitCode).toSorted(), [0, 8]);
    await assertRotationComplete(stack);
  }
});

test("with an external server, an advisory lock of PostgreSQL keeps a second rotation out", async () => {
  await using external = await makeTestStack();
  const env = { CQRS_MODE: "external", DATABASE_URL: connectionUrl(await stack.administrator()), POSTGRES_USER: "ext" };
  const options = { stackDir: external.stackDir, env };
  await runForData(["bootstrap", "--yes"], options);
  {
    await using other = openConnection(await stack.administrator());
    await lockRotation(other.sql);
    const run = await runScript(["secrets", "rotate"], options);
    assert.equal(run.exitCode, 5, run.stderr);
    assert.match(run.stderr, /Another rotation is running/);
  }
  for (let round = 0; round < testRounds(2); round++) {
    const runs = await Promise.all([1, 2, 3].map(() => runScript(["secrets", "rotate", "--yes"], options)));
    assert.ok(runs.some(({ exitCode }) => exitCode === 0));
    assert.ok(
      runs.every(({ exitCode }) => exitCode === 0 || exitCode === 5),
      runs.map((run) => run.stderr).join("\n"),
    );
    await assertSecretsLogIn(external);
  }
  await using admin = openConnection(await stack.administrator());
  await admin.sql`drop role ext`;
  await admin.sql`drop role ext_b`;
});

test("a concurrent write of the secret is kept, and its password is set on the login", async () => {
  const login = await assertRotationComplete(stack);
  const theirs = { username: otherLogin(login), password: generatePassword() };
  const { write } = FileSecretStore.prototype;
  FileSecretStore.prototype.write = async function (path, data, options) {
    FileSecretStore.prototype.write = write;
    await write.call(this, path, { ...data, ...theirs }, options);
    return write.call(this, path, data, options);
  };
  await assert.rejects(rotate(), { code: "SECRET_CONFLICT", exitCode: 5 });
  await checkLogin({ ...(await stack.application()), user: theirs.username, password: theirs.password });
  await bootstrapTestStack(stack.stackDir);
  assert.equal(await assertRotationComplete(stack), theirs.username);
});

function rotate(graceMs = 60_000): Promise<Rotation> {
  return rotateTestStack(stack, { graceMs });
}

/** Waits until a time has passed; PostgreSQL's clock is ours. */
async function until(moment: string): Promise<void> {
  while (Date.now() <= Date.parse(moment)) await sleep(20);
}
