import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack } from "../support/stack.ts";

test("status shows mode, version, masked URL, pid, port, folder, size, uptime and pending files", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  const status = await runForData<StackStatus>(["status"], stack);
  assert.equal(status.mode, "embedded");
  assert.match(status.version ?? "", /^16\.\d+$/);
  assert.equal(status.url, `postgres://cqrs_user:****@127.0.0.1:${status.port}/cqrs_db`);
  assert.ok((status.pid ?? 0) > 1);
  assert.equal(status.dataDirectory, stack.dataDir);
  assert.ok((status.sizeBytes ?? 0) > 1_000_000);
  assert.ok((status.uptimeSeconds ?? -1) >= 0);
  assert.equal(status.pendingMigrations, 0);

  await using admin = openConnection(await stack.administrator());
  await admin.sql`delete from public.schema_migration where name like 'routines/%'`;
  assert.ok(((await runForData<StackStatus>(["status"], stack)).pendingMigrations ?? 0) > 0);
  await admin.sql`update public.schema_migration set checksum = repeat('0', 64) where name like '%0001-schemas.sql'`;
  const drifted = await runForData<StackStatus>(["status"], stack);
  assert.equal(drifted.pendingMigrations, null);
  assert.match(drifted.schemaProblem ?? "", /0001-schemas\.sql was edited/);
});

test("status exits with 3 and shows what is known if the server is stopped or was never bootstrapped", async () => {
  await using stack = await makeTestStack();
  for (const prepare of [async () => {}, async () => void (await startAndStop(stack))]) {
    await prepare();
    const run = await runScript(["status", "--json"], stack);
    assert.equal(run.exitCode, 3);
    const { ok, error, data } = JSON.parse(run.stdout) as { ok: boolean; error: { code: string }; data: StackStatus };
    assert.equal(ok, false);
    assert.equal(error.code, "NOT_RUNNING");
    assert.equal(data.isRunning, false);
    assert.equal(data.logProblems, null, "unknown");
    assert.equal(data.dataDirectory, stack.dataDir);
    const env = await runScript(["status", "--env"], stack);
    assert.equal(env.exitCode, 3);
    assert.equal(env.stdout, "");
    assert.match(env.stderr, /PostgreSQL is not running/);
  }
});

test("status --env prints lines that a shell can evaluate, whatever the password contains", async () => {
  await using stack = await makeTestStack();
  const password = `it's $HOME "quoted" \\ & 100%`;
  await runForData(["bootstrap"], { ...stack, env: { POSTGRES_PASSWORD: password } });
  const { stdout } = await runScript(["status", "--env"], stack);
  const variables = ["DATABASE_URL", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"];
  const script = `eval "$LINES_TO_RUN"; for name in ${variables.join(" ")}; do eval "printf '%s\\n' \\"\\$$name\\""; done`;
  const shell = spawnSync("sh", ["-c", script], { env: { LINES_TO_RUN: stdout }, encoding: "utf8" });
  const [url = "", host = "", port, user = "", shownPassword, database = ""] = shell.stdout.split("\n");
  assert.equal(shownPassword, password);
  await using application = openConnection({ host, port: Number(port), user, password, database });
  assert.equal((await application.sql`select session_user::text as login`)[0]?.["login"], "cqrs_user");
  assert.equal(decodeURIComponent(new URL(url).password), password);
  assert.equal(new URL(url).port, port);
});

async function startAndStop(options: { readonly stackDir: string }): Promise<void> {
  await runForData(["bootstrap"], options);
  await runForData(["stop"], options);
}
