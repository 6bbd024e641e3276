import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { append } from "../support/append.ts";
import { health, makeComposeStack, mustRun, run, startComposeStack, until } from "../support/compose.ts";
import { startScript } from "../support/run-script.ts";

/** compose reads this file in addition to its own. */
const override = "docker-compose.override.yml";

test("up --wait fails if init fails, reports the cause, and starts no dependent service", async () => {
  await using stack = await makeComposeStack({ POSTGRES_USER: "postgres" });
  const alone = await stack.compose("up", "--wait");
  assert.notEqual(alone.exitCode, 0, "even though nothing depends on init");
  assert.match(alone.stderr, /service "init" didn't complete successfully: exit 2/);
  const dependent = `services: { application: { image: "${process.env["POSTGRES_IMAGE"]}", entrypoint: [sleep, "60"], depends_on: { init: { condition: service_completed_successfully } } } }`;
  await writeFile(join(stack.dir, override), dependent);
  assert.notEqual((await stack.compose("up", "--wait")).exitCode, 0);
  assert.match(await stack.mustCompose("logs", "init"), /POSTGRES_USER must not be a reserved role/);
  assert.equal(await stack.mustCompose("ps", "--quiet", "application"), "");
});

test("PostgreSQL is not healthy while the image's temporary server runs a slow script", async () => {
  await using stack = await makeComposeStack();
  const mount = `services: { postgres: { volumes: ["./slow.sh:/docker-entrypoint-initdb.d/slow.sh:ro"] } }`;
  await writeFile(join(stack.dir, override), mount);
  const script =
    "psql -h /var/run/postgresql -U postgres -c 'select 1' && touch /tmp/slow && until [ -e /tmp/go-on ]; do sleep 0.1; done\n";
  await writeFile(join(stack.dir, "slow.sh"), script, { mode: 0o755 });
  const up = stack.compose("up", "--wait");
  const exec = (...words: string[]) => stack.compose("exec", "-T", "postgres", ...words);
  await until("the script runs", async () => (await exec("test", "-e", "/tmp/slow")).exitCode === 0);
  const socket = await exec("psql", "-h", "/var/run/postgresql", "-U", "postgres", "-XAtqc", "select 1");
  assert.equal(socket.stdout, "1\n", "a check through the socket would succeed");
  const looks = async () => {
    const words = ["inspect", "--format", "{{len .State.Health.Log}}", `${stack.project}-postgres`];
    return Number((await run("docker", words, { env: stack.env })).stdout);
  };
  await until("two health checks have run", async () => (await looks()) >= 2);
  assert.equal(await health(stack, "postgres"), "starting");
  assert.equal((await exec("touch", "/tmp/go-on")).exitCode, 0);
  assert.equal((await up).exitCode, 0, "up succeeds once the script has ended");
  assert.equal(await health(stack, "postgres"), "healthy");
});

test("two stacks run side by side, one with other names and another user, and are independent", async () => {
  await using one = await startComposeStack();
  await using other = await startComposeStack({
    POSTGRES_DB: "Other Orders",
    POSTGRES_USER: "other_user",
    CQRS_UID: "1234",
    CQRS_GID: "2345",
  });
  const secret = await other.secret("database-local");
  assert.equal(secret["username"], "other_user");
  assert.equal(secret["uri"]?.endsWith(`@127.0.0.1:${other.port}/Other%20Orders`), true);
  await one.withSession((sql) => append(sql, {}));
  const [row] = await other.withSession((sql) => sql`select count(*)::int from event_store.domain_event`);
  assert.equal(row?.["count"], 0);
  const uid = await other.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "id", "init", "-u");
  assert.equal(uid.stdout, "1234\n");
  const write = ["sh", "init", "-c", "touch /stack/postgres/backups/archive"];
  const written = await other.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", ...write);
  assert.equal(written.exitCode, 0, `backups can be written\n${written.stderr}`);
});

test("init can run twice concurrently, and restores working credentials after Vault was emptied", async () => {
  await using stack = await startComposeStack();
  await stack.withSession((sql) => append(sql, {}));
  const runs = await Promise.all([1, 2].map(() => stack.compose("run", "--rm", "-T", "init")));
  assert.deepEqual(
    runs.map(({ exitCode }) => exitCode),
    [0, 0],
    runs.map(({ stderr }) => stderr).join(),
  );
  const old = await stack.secret("database");
  await stack.mustCompose("down");
  mustRun("volume rm", await run("docker", ["volume", "rm", `${stack.project}-vault-data`], { env: stack.env }));
  await stack.mustCompose("up", "--wait");
  assert.notEqual((await stack.secret("database"))["password"], old["password"]);
  const [row] = await stack.withSession((sql) => sql`select count(*)::int from event_store.domain_event`);
  assert.equal(row?.["count"], 1, "the events are still there");
});

test("a wrong password of the application is repaired; a superuser's is reported with a fix", async () => {
  await using stack = await startComposeStack();
  const ask = (sql: string) =>
    stack.mustCompose("exec", "-T", "postgres", "psql", "-h", "127.0.0.1", "-U", "postgres", "-c", sql);
  await ask("alter role cqrs_user password 'changed-by-hand'");
  await assert.rejects(stack.withSession((sql) => sql`select 1`));
  await stack.mustCompose("up", "--wait");
  await stack.withSession((sql) => sql`select 1`);
  await ask("alter role postgres password 'of-an-older-volume'");
  assert.notEqual((await stack.compose("up", "--wait")).exitCode, 0);
  const log = await stack.mustCompose("logs", "--no-log-prefix", "init");
  assert.match(log, /PostgreSQL rejected the login postgres:\/\/postgres:\*\*\*\*@postgres:5432/);
  const fix = /fix: Run (docker compose .*)/.exec(log)?.[1];
  assert.ok(fix !== undefined, log);
  mustRun(fix, await run("sh", ["-c", fix], { cwd: stack.dir, env: stack.env }));
  await stack.mustCompose("up", "--wait");
});

test("wait-for waits for a Vault that is sealed, and for a server that comes back", async () => {
  await using stack = await startComposeStack();
  const vault = (words: string) => ["exec", "-T", "vault", "sh", "-c", `VAULT_ADDR=http://127.0.0.1:8200 ${words}`];
  const [target, login] = [`vault://127.0.0.1:${stack.vaultPort}`, connectionUrl(await stack.application())];
  await stack.mustCompose("stop", "postgres");
  // Without its entrypoint, Vault starts sealed and stays sealed.
  await stack.mustCompose("stop", "vault");
  const sealed = ["run", "--detach", "--rm", "--no-deps", "--service-ports", "--entrypoint", "vault", "vault"];
  const id = (await stack.mustCompose(...sealed, "server", "-config=/vault/config/compose.hcl"))
    .trim()
    .split("\n")
    .at(-1);
  const waiting = startScript(["wait-for", target, login], { stackDir: stack.dir });
  await waiting.saw("it is sealed");
  mustRun("stop", await run("docker", ["stop", id as string], { env: stack.env }));
  await stack.mustCompose("start", "vault", "postgres");
  const { exitCode, stderr } = await waiting.ended;
  assert.equal(exitCode, 0, stderr);
  assert.match(await stack.mustCompose(...vault("vault status")), /Sealed +false/);
});
