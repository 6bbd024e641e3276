import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type ComposeStack, makeComposeStack, mustRun, run } from "../support/compose.ts";
import { startProgram } from "../support/run-script.ts";

type Environment = Readonly<Record<string, string>>;

/** Runs a script of the stack's project folder, in compose mode. */
function script({ dir, env }: ComposeStack, words: readonly string[], change: Environment = {}) {
  const [name, ...args] = words;
  return startProgram(join(dir, `scripts/${name}.ts`), args, { env: { ...env, CQRS_MODE: "compose", ...change } })
    .ended;
}

async function data(stack: ComposeStack, ...words: string[]) {
  const { exitCode, stdout, stderr } = await script(stack, [...words, "--json"]);
  assert.equal(exitCode, 0, stdout + stderr);
  return JSON.parse(stdout).data;
}

test("bootstrap, status, stop and destroy control the containers; other scripts work from the host", async () => {
  await using stack = await makeComposeStack();
  const first = await data(stack, "bootstrap");
  assert.deepEqual([first.mode, first.port, first.isChanged], ["compose", stack.port, true]);
  assert.equal((await data(stack, "bootstrap")).isChanged, false);
  const { mode, isRunning, url, pendingMigrations, secrets } = await data(stack, "status");
  assert.deepEqual([mode, isRunning, pendingMigrations, secrets.isReady], ["compose", true, 0, true]);
  assert.equal(url, `postgres://cqrs_user:****@127.0.0.1:${stack.port}/cqrs_db`);
  const { env } = await data(stack, "status", "--env");
  const target = { host: env.PGHOST, port: Number(env.PGPORT), database: env.PGDATABASE, user: env.PGUSER };
  await using application = openConnection({ ...target, password: env.PGPASSWORD });
  await application.sql`select count(*) from event_store.domain_event`;
  assert.deepEqual((await data(stack, "schema", "status")).pending, []);
  await assertVerifies(stack);
  assert.equal((await data(stack, "stop")).containers.length, 2);
  assert.equal((await script(stack, ["status"])).exitCode, 3);
  assert.equal((await script(stack, ["verify"])).exitCode, 3);
  await data(stack, "bootstrap");
  assert.equal((await script(stack, ["destroy"])).exitCode, 8, "refused without --yes");
  const { plan } = await data(stack, "destroy", "--yes");
  assert.match(plan.dataDirectory, new RegExp(`${stack.project}-postgres-data`));
  assert.equal(plan.events, 0);
  const volumes = (await run("docker", ["volume", "ls", "-q"], { env: stack.env })).stdout.split("\n");
  assert.ok(!volumes.includes(`${stack.project}-postgres-data`) && volumes.includes(`${stack.project}-keys`));
});

/** What differs from an embedded server: the container, its volume, its log, its restart. */
async function assertVerifies(stack: ComposeStack): Promise<void> {
  const { ok, checks } = await data(stack, "verify", "--restart", "--yes");
  assert.equal(ok, true);
  const evidence = Object.fromEntries(checks.map((item: { id: string; evidence: string }) => [item.id, item.evidence]));
  assert.equal(evidence["data-directory"], `volume ${stack.project}-postgres-data, owner postgres, mode 0700`);
  assert.match(evidence["disk-space"], /^\d{9,} bytes/);
  assert.equal(evidence["logs"], `docker logs ${stack.project}-postgres`);
  assert.match(evidence["restart"], /^0 events up to position 0, restarted at /);
  await stack.mustCompose("exec", "-T", "postgres", "sh", "-c", 'chmod 755 "$PGDATA"');
  const { exitCode, stdout } = await script(stack, ["verify"]);
  assert.equal(exitCode, 11, stdout);
  assert.match(
    stdout,
    /failed {2}The data directory or volume .*\n +why: its mode is 0755, not 0700\n +fix: Run docker exec/,
  );
  await stack.mustCompose("exec", "-T", "postgres", "sh", "-c", 'chmod 700 "$PGDATA"');
  await stack.mustCompose("run", "--rm", "-T", "init", "verify");
}

test("a second clone refuses the containers of the first", async () => {
  await using first = await makeComposeStack();
  await using second = await makeComposeStack({ COMPOSE_PROJECT_NAME: first.project });
  await data(first, "bootstrap");
  for (const words of [["bootstrap"], ["status"], ["stop"], ["destroy", "--yes"]]) {
    const { exitCode, stderr } = await script(second, words);
    assert.match(stderr, new RegExp(`${first.project} belongs to another folder\\n[^]*started from ${first.dir}\\.`));
    assert.equal(exitCode, 8, words.join(" "));
  }
  assert.equal((await data(first, "status")).isRunning, true);
  const fix = { COMPOSE_PROJECT_NAME: `${first.project}-2` };
  assert.equal((await script(second, ["status"], fix)).exitCode, 3, "not running, and not refused");
});

describe("bootstrap --mode compose reports clearly", () => {
  let stack: ComposeStack;
  before(async () => {
    stack = await makeComposeStack();
  });
  after(() => stack[Symbol.asyncDispose]());

  async function assertFails(change: Environment, exitCode: number, text: RegExp): Promise<void> {
    const result = await script(stack, ["bootstrap"], change);
    assert.match(result.stderr, text);
    assert.equal(result.exitCode, exitCode, result.stderr);
    assert.match(result.stderr, /^ {2}fix: /m);
    await stack.compose("down", "--volumes", "--timeout", "2");
  }

  test("that docker is not installed", () =>
    assertFails({ PATH: dirname(process.execPath) }, 9, /Docker is not installed/));

  test("that Docker Engine is not running", () =>
    assertFails({ DOCKER_HOST: "unix:///nonexistent/docker.sock" }, 9, /Docker Engine is not running/));

  test("that compose v2 is missing", async () => {
    const empty = join(stack.dir, "empty");
    await mkdir(empty, { recursive: true });
    // Configuration cannot hide a system-wide plugin, so a wrapper pretends that there is none.
    const words =
      '#!/bin/sh\n[ "$1" != compose ] || { echo "docker: \'compose\' is not a docker command." >&2; exit 1; }\n';
    await writeFile(join(empty, "docker"), `${words}PATH=\${PATH#*:} exec docker "$@"\n`, { mode: 0o755 });
    await assertFails({ PATH: `${empty}:${process.env["PATH"]}` }, 9, /Docker Compose v2 is not installed/);
  });

  test("which program uses a port", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(stack.port, "127.0.0.1", resolve));
    try {
      await assertFails({}, 9, new RegExp(`Port ${stack.port} of 127.0.0.1 is in use by `));
    } finally {
      server.close();
    }
  });

  test("which container uses a port", async () => {
    const image = process.env["POSTGRES_IMAGE"] as string;
    const name = `${stack.project}-other`;
    const words = [
      "run",
      "--detach",
      "--rm",
      "--name",
      name,
      "-p",
      `127.0.0.1:${stack.port}:80`,
      "--entrypoint",
      "sleep",
    ];
    mustRun("run", await run("docker", [...words, image, "60"], { env: stack.env }));
    try {
      await assertFails({}, 9, new RegExp(`is in use by the container ${name}`));
    } finally {
      await run("docker", ["rm", "--force", name], { env: stack.env });
    }
  });

  test("that an image cannot be pulled", () =>
    assertFails({ POSTGRES_IMAGE: "registry.invalid/none:1" }, 9, /An image cannot be pulled[\s\S]*registry\.invalid/));

  test("that a container ran out of memory", () =>
    assertFails({ INIT_MEMORY: "16m" }, 9, /A container ran out of memory/));

  test("that the data volume belongs to another major version", async () => {
    const volume = `${stack.project}-postgres-data`;
    const words = [
      "run",
      "--rm",
      "-v",
      `${volume}:/data`,
      "--entrypoint",
      "sh",
      process.env["POSTGRES_IMAGE"] as string,
    ];
    mustRun("run", await run("docker", [...words, "-c", "echo 15 >/data/PG_VERSION"], { env: stack.env }));
    await assertFails(
      {},
      9,
      /was created by another major version[\s\S]*PostgreSQL 15, and the image is PostgreSQL 16/,
    );
  });

  test("that a bind mount is not writable", async () => {
    const backups = join(stack.dir, "infrastructure/postgres/backups");
    await chmod(backups, 0o555);
    await assertFails(
      {},
      9,
      /cannot use a file or folder of this project[\s\S]*cannot write to infrastructure\/postgres\/backups/,
    );
    await chmod(backups, 0o755);
  });

  test("why init failed", () =>
    assertFails({ POSTGRES_USER: "cqrs_app" }, 2, /POSTGRES_USER must not be a reserved role/));
});
