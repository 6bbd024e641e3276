import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { isPortFree } from "../../scripts/lib/postgres/server/port.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { unusedPort } from "../support/port.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, sharedStack, type TestStack } from "../support/stack.ts";

/** For tests that leave its data and secrets as they found them; its server may be stopped, or on another port. */
let settled: TestStack;
before(async () => {
  settled = await makeTestStack();
});
after(() => settled[Symbol.asyncDispose]());

test("bootstrap sets up a server that the application can append to, and changes nothing when run again", async () => {
  await using stack = await makeTestStack();
  const first = await runForData<BootstrapResult>(["bootstrap"], stack);
  assert.equal(first.mode, "embedded");
  assert.equal(first.isChanged, true);
  assert.equal(first.url, `postgres://cqrs_user:****@127.0.0.1:${first.port}/cqrs_db`);
  const names = ["cluster", "server", "roles", "database", "schema", "credentials", "login"];
  assert.deepEqual(
    first.steps.map(({ name }) => name),
    names,
  );
  await using application = openConnection(await stack.application());
  await appendOrder(application.sql);

  const second = await runScript(["bootstrap"], stack);
  assert.equal(second.exitCode, 0);
  assert.match(
    second.stdout,
    /^ready \(nothing to change\) {2}postgres:\/\/cqrs_user:\*{4}@127\.0\.0\.1:\d+\/cqrs_db\n/,
  );
  assert.match(second.stdout, /eval "\$\(bun run --silent status --env\)"/);
  const third = await runForData<BootstrapResult>(["bootstrap"], stack);
  assert.deepEqual(
    third.steps.filter(({ isChanged }) => isChanged),
    [],
  );
});

test("the server listens only on the loopback, requires SCRAM, and uses UTF-8, ICU and checksums", async () => {
  await runForData(["bootstrap"], settled);
  await using admin = openConnection(await settled.administrator());
  const [settings] = await admin.sql`
    select current_setting('listen_addresses') as listen, current_setting('data_checksums') as checksums,
           current_setting('server_encoding') as encoding, current_setting('password_encryption') as encryption,
           current_setting('unix_socket_directories') as sockets, current_setting('shared_buffers') as buffers,
           (select datlocprovider::text || ':' || daticulocale || ':' || datcollate from pg_database
            where datname = current_database()) as locale`;
  assert.deepEqual(
    { ...settings },
    {
      listen: "127.0.0.1",
      checksums: "on",
      encoding: "UTF8",
      encryption: "scram-sha-256",
      sockets: ".",
      buffers: "256MB",
      locale: "i:und:C",
    },
  );
  const methods = await admin.sql`select distinct auth_method from pg_hba_file_rules`;
  assert.deepEqual(
    methods.map((row) => row["auth_method"]),
    ["scram-sha-256"],
  );
});

test("the server outlives the script, stop stops it, and bootstrap restarts it on the same port with its data", async () => {
  const first = await runForData<BootstrapResult>(["bootstrap"], settled);
  await append(settled);
  assert.equal((await runForData<StackStatus>(["status"], settled)).isRunning, true);

  const stopped = await runForData<{ pid: number | null }>(["stop"], settled);
  assert.equal(typeof stopped.pid, "number");
  assert.equal(await isPortFree(first.port), true);
  assert.equal((await runForData<{ pid: number | null }>(["stop"], settled)).pid, null);

  const again = await runForData<BootstrapResult>(["bootstrap"], settled);
  assert.equal(again.port, first.port);
  assert.equal(await countEvents(settled), 1);
});

test("three concurrent bootstraps all succeed, and only one of them initialises the cluster", async () => {
  await using stack = await makeTestStack();
  const runs = await Promise.all([1, 2, 3].map(() => runForData<BootstrapResult>(["bootstrap"], stack)));
  const makers = runs.filter(({ steps }) => steps.some(({ name, isChanged }) => name === "cluster" && isChanged));
  assert.equal(makers.length, 1);
  assert.equal(new Set(runs.map(({ port }) => port)).size, 1);
});

test("bootstrap reports a port that another program uses, and does not switch to another port", async () => {
  const { port } = await runForData<BootstrapResult>(["bootstrap"], settled);
  await runForData(["stop"], settled);
  const intruder = await listen(port);
  try {
    const run = await runScript(["bootstrap"], settled);
    assert.equal(run.exitCode, 9, run.stderr);
    assert.match(run.stderr, new RegExp(`Port ${port} of 127\\.0\\.0\\.1 is in use by another program`));
    assert.match(run.stderr, /fix: .*bun run bootstrap --port/);
  } finally {
    intruder.close();
  }
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], settled)).port, port);
});

test("another PostgreSQL server on our port is not mistaken for ours", async () => {
  const { port } = await runForData<BootstrapResult>(["bootstrap"], settled);
  await using stack = await makeTestStack();
  const run = await runScript(["bootstrap", "--port", `${port}`, "--json"], stack);
  assert.equal(run.exitCode, 9);
  const { error } = JSON.parse(run.stdout) as { error: { code: string; message: string } };
  assert.equal(error.code, "PORT_TAKEN");
  assert.match(error.message, /another PostgreSQL server/);
});

test("a running server refuses to change its port, a stopped one changes it permanently", async () => {
  const { port } = await runForData<BootstrapResult>(["bootstrap"], settled);
  const wanted = await unusedPort();
  const refused = await runScript(["bootstrap", "--port", `${wanted}`], settled);
  assert.equal(refused.exitCode, 8);
  assert.match(refused.stderr, new RegExp(`is running on port ${port}`));
  await runForData(["stop"], settled);
  await runForData(["bootstrap", "--port", `${wanted}`], settled);
  const { port: now, url } = await runForData<BootstrapResult>(["bootstrap"], settled);
  assert.equal(now, wanted);
  assert.match(url, new RegExp(`:${wanted}/`));
  assert.equal((await settled.application()).port, wanted);
});

test("the server keeps its port if the state file is lost", async () => {
  await using stack = await makeTestStack();
  const port = await unusedPort();
  await runForData(["bootstrap", "--port", `${port}`], stack);
  await runForData(["stop"], stack);
  await rm(join(stack.stackDir, "state.json"));
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], stack)).port, port);
});

test("a port that did not work is not saved", async () => {
  await using other = await sharedStack();
  const taken = (await other.administrator()).port;
  const { port } = await runForData<BootstrapResult>(["bootstrap"], settled);
  await runForData(["stop"], settled);
  for (const wanted of [taken, 80]) {
    const run = await runScript(["bootstrap", "--port", `${wanted}`], settled);
    // On some systems any user may listen on port 80.
    if (run.exitCode === 0) return;
    assert.equal(run.exitCode, 9, run.stderr);
    assert.match(run.stderr, new RegExp(`port ${wanted}`, "i"));
  }
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], settled)).port, port);
});

test("bootstrap reports a secret without a password and leaves the running server alone", async () => {
  await runForData(["bootstrap"], settled);
  const { pid } = await runForData<StackStatus>(["status"], settled);
  const file = join(settled.stackDir, "secrets/embedded/superuser/1.json");
  const content = await readFile(file, "utf8");
  await writeFile(file, "{}");
  const run = await runScript(["bootstrap"], settled);
  assert.equal(run.exitCode, 2);
  assert.match(run.stderr, /The secret embedded\/superuser has no password/);
  await writeFile(file, content);
  assert.equal((await runForData<StackStatus>(["status"], settled)).pid, pid);
});

test("status reports a missing secret store as such, not as a stopped server", async () => {
  await runForData(["bootstrap"], settled);
  await rename(join(settled.stackDir, "secrets"), join(settled.stackDir, "elsewhere"));
  const run = await runScript(["status"], settled);
  await rename(join(settled.stackDir, "elsewhere"), join(settled.stackDir, "secrets"));
  assert.equal(run.exitCode, 3);
  assert.match(run.stderr, /There is no secret embedded\/superuser/);
});

test("--verbose shows the server program and its account, and each file that is applied", async () => {
  await using stack = await makeTestStack();
  const { stderr } = await runScript(["bootstrap", "--verbose"], stack);
  assert.match(stderr, /^PostgreSQL 16\.\d+ at \S+\/postgres, run as /m);
  assert.match(stderr, /^applied migrations\/0001-schemas\.sql$/m);
});

test("two concurrent destroys both succeed", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  const runs = await Promise.all([1, 2].map(() => runScript(["destroy", "--yes"], stack)));
  assert.deepEqual(
    runs.map(({ exitCode }) => exitCode),
    [0, 0],
    runs.map(({ stderr }) => stderr).join("\n"),
  );
});

test("a data directory of another major version is refused with instructions, and left untouched", async () => {
  await using stack = await makeTestStack();
  await mkdir(stack.dataDir, { recursive: true });
  await writeFile(join(stack.dataDir, "PG_VERSION"), "15\n");
  const run = await runScript(["bootstrap"], stack);
  assert.equal(run.exitCode, 9);
  assert.match(run.stderr, /was created by PostgreSQL 15/);
  assert.match(run.stderr, /pg_dumpall.*bun run destroy --yes/);
  assert.deepEqual(await readdir(stack.dataDir), ["PG_VERSION"]);
});

test("bootstrap and destroy refuse a data directory that is not a cluster, and leave it untouched", async () => {
  await using stack = await makeTestStack();
  await mkdir(stack.dataDir, { recursive: true });
  await writeFile(join(stack.dataDir, "thesis.txt"), "years of work");
  for (const words of [["bootstrap"], ["destroy", "--yes"]]) {
    const run = await runScript(words, stack);
    assert.equal(run.exitCode, 9);
    assert.match(run.stderr, /is not a PostgreSQL data directory/);
  }
  assert.equal(await readFile(join(stack.dataDir, "thesis.txt"), "utf8"), "years of work");
});

test("bootstrap regains access after the secret store was emptied, and keeps the data", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await append(stack);
  const before = await stack.application();
  await rm(join(stack.stackDir, "secrets"), { recursive: true });
  const run = await runScript(["bootstrap"], stack);
  assert.equal(run.exitCode, 0, run.stderr);
  assert.match(run.stderr, /reset the superuser's password/);
  const after = await stack.application();
  assert.notEqual(after.password, before.password);
  assert.equal(await countEvents(stack), 1);
});

test("a stack works in a folder whose path has spaces and quotes and is longer than a socket path may be", async () => {
  await using parent = await makeTestStack();
  const stackDir = join(parent.stackDir, `it's "a" $HOME of ${"long ".repeat(30)}names`);
  const options = { stackDir };
  await runForData(["bootstrap"], options);
  const status = await runForData<StackStatus>(["status"], options);
  assert.equal(status.dataDirectory, join(stackDir, "postgres/data"));
  assert.ok((await readdir(status.dataDirectory)).includes(`.s.PGSQL.${status.port}`));
  await runForData(["destroy", "--yes"], options);
});

test("destroy without --yes refuses and shows what it would delete; with --yes it deletes exactly that", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await append(stack);
  const refused = await runScript(["destroy"], stack);
  assert.equal(refused.exitCode, 8);
  assert.match(
    refused.stderr,
    new RegExp(`deletes: ${stack.dataDir} \\(\\d+\\.\\d MB\\)\n.*cqrs_db \\(.* MB, events: 1, str`),
  );
  assert.doesNotMatch(refused.stderr, /postgres \(/);
  assert.equal(await countEvents(stack), 1);
  await rename(join(stack.stackDir, "secrets"), join(stack.stackDir, "hidden"));
  const locked = await runScript(["destroy"], stack);
  assert.equal(locked.exitCode, 8);
  assert.match(locked.stderr, / MB, rows not counted: There is no secret embedded\/superuser\)/);
  await rename(join(stack.stackDir, "hidden"), join(stack.stackDir, "secrets"));
  await mkdir(join(stack.stackDir, "postgres/backups"));

  const done = await runScript(["destroy", "--yes"], stack);
  assert.equal(done.exitCode, 0, done.stderr);
  assert.deepEqual(await readdir(join(stack.stackDir, "postgres")), ["backups"]);
  assert.ok((await readdir(stack.stackDir)).includes("secrets"));
  assert.match((await runScript(["destroy", "--yes"], stack)).stdout, /nothing to destroy/);
});

async function append(stack: TestStack): Promise<void> {
  await using application = openConnection(await stack.application());
  await appendOrder(application.sql);
}

async function appendOrder(sql: Sql): Promise<void> {
  await sql`
    select event_store.append_events('Order', gen_random_uuid(), 0,
      array['{"event_type":"OrderPlaced","event_version":1,"event_data":{"total":42}}']::jsonb[])`;
}

async function countEvents(stack: TestStack): Promise<number> {
  await using application = openConnection(await stack.application());
  const [row] = await application.sql`select count(*)::int as events from event_store.domain_event`;
  return row?.["events"] as number;
}

/** Occupies a port, as a program that closes every connection. */
async function listen(port: number): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return server;
}
