import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { locateDeno } from "../support/deno.ts";
import { refusesSessions } from "../support/fake-server.ts";
import { unusedPort } from "../support/port.ts";
import { runScript, type ScriptRun, startScript } from "../support/run-script.ts";
import { settle, until } from "../support/session.ts";
import { makeTestStack } from "../support/stack.ts";
import { answersHttp, closesAtOnce, leadsTo, openServer, saysNothing } from "../support/wait-server.ts";

let dir: string;
let database: TestDatabase;
let url: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "cqrs-wait-"));
  database = await withDatabase();
  url = connectionUrl(database.application);
});

after(async () => {
  await database[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const begin = (...words: string[]) => startScript(["wait-for", ...words], { stackDir: dir });
const run = (...words: string[]) => runScript(["wait-for", ...words], { stackDir: dir });

/** Runs `wait-for` with a database of an external server as the stack's. */
function runExternal({ administrator }: TestDatabase, ...words: string[]): Promise<ScriptRun> {
  const env = { CQRS_MODE: "external", DATABASE_URL: connectionUrl(administrator) };
  return runScript(["wait-for", ...words], { stackDir: dir, env });
}

/** The URL of the database, through another port. */
function through(port: number, change: Partial<TestDatabase["application"]> = {}): string {
  return connectionUrl({ ...database.application, ...change, port });
}

function assertRun({ exitCode, stdout, stderr }: ScriptRun, code: number, text: RegExp): void {
  assert.equal(exitCode, code, stdout + stderr);
  assert.match(stdout + stderr, text);
}

describe("wait-for exits with 0 once", () => {
  test("a closed port is opened", async () => {
    const port = await unusedPort();
    const waiting = begin(`tcp://127.0.0.1:${port}`);
    await waiting.saw("nothing listens there (ECONNREFUSED)");
    await using _server = await openServer(saysNothing, port);
    assertRun(await waiting.ended, 0, /^ready {2}tcp:\/\/127\.0\.0\.1/m);
  });

  test("a server that closed connections immediately keeps them open", async () => {
    await using server = await openServer(closesAtOnce);
    const tcp = begin(`tcp://127.0.0.1:${server.port}`);
    const postgres = begin(through(server.port));
    await tcp.saw("accepts connections and closes them at once");
    await postgres.saw("the connection was closed (");
    server.become(leadsTo(database.application.port));
    assertRun(await tcp.ended, 0, /^ready/m);
    assertRun(await postgres.ended, 0, /^ready/m);
  });

  test("PostgreSQL answers in place of another server", async () => {
    await using server = await openServer(answersHttp(200));
    const waiting = begin(through(server.port));
    await waiting.saw("the server that responds is not PostgreSQL");
    server.become(leadsTo(database.application.port));
    assertRun(await waiting.ended, 0, /^ready/m);
  });

  test("PostgreSQL has started, after it refused sessions", async () => {
    await using server = await openServer(refusesSessions("57P03", "the database system is starting up"));
    const waiting = begin(through(server.port));
    await waiting.saw("the database system is starting up (57P03)");
    server.become(leadsTo(database.application.port));
    assertRun(await waiting.ended, 0, /^ready/m);
  });

  test("a server answers HTTP without an error", async () => {
    await using server = await openServer(answersHttp(503));
    const waiting = begin(`http://127.0.0.1:${server.port}/health`);
    await waiting.saw("it responds with 503");
    server.become(answersHttp(204));
    assertRun(await waiting.ended, 0, /^ready/m);
  });

  test("a Vault is initialised and unsealed", async () => {
    await using server = await openServer(answersHttp(501));
    const waiting = startScript(["wait-for", "vault", `vault://127.0.0.1:${server.port}`], {
      stackDir: dir,
      env: { VAULT_ADDR: `http://127.0.0.1:${server.port}` },
    });
    await waiting.saw("it is not initialised");
    server.become(answersHttp(503));
    await waiting.saw("it is sealed");
    server.become(answersHttp(200));
    assertRun(await waiting.ended, 0, /^ready/m);
  });

  test("a file exists; with --invert, once it is gone", async () => {
    const file = join(dir, "marker");
    const coming = begin(`file:${file}`);
    await coming.saw("it does not exist");
    await writeFile(file, "");
    assertRun(await coming.ended, 0, /^ready/m);
    const going = begin(`file:${file}`, "--invert");
    await going.saw("it is still usable");
    await rm(file);
    assertRun(await going.ended, 0, /^ready/m);
  });

  test("one of the targets is usable, with --any", async () => {
    const port = await unusedPort();
    const result = await run("--any", `tcp://127.0.0.1:${port}`, url, "--json");
    assert.equal(result.exitCode, 0, result.stderr);
    const { data } = JSON.parse(result.stdout);
    assert.deepEqual(Object.keys(data.targets[0]), ["target", "tries", "waitedMs", "reason"]);
    assert.equal(data.targets.length, 1);
  });

  test("the query of --query returns true", async () => {
    await database.admin`create table public.flag (is_set boolean)`;
    await database.admin`grant select on public.flag to public`;
    const waiting = begin(url, "--query", "select is_set from flag");
    await waiting.saw("the query returns no row");
    await database.admin`insert into public.flag values (false)`;
    await waiting.saw("the query returns false");
    await database.admin`update public.flag set is_set = true`;
    assertRun(await waiting.ended, 0, /^ready/m);
  });

  test("a missing database is created", async () => {
    const name = `${database.name}_late`;
    const waiting = begin(connectionUrl({ ...database.administrator, database: name }));
    await waiting.saw("(3D000)");
    await database.admin.unsafe(`create database ${name}`);
    assertRun(await waiting.ended, 0, /^ready/m);
    await database.admin.unsafe(`drop database ${name} with (force)`);
  });

  test("the database and the schema of a new stack are complete", async () => {
    await using stack = await makeTestStack();
    const waiting = startScript(["wait-for", "postgres", "schema"], stack);
    await waiting.saw("waiting for schema: There is no secret");
    assert.equal((await runScript(["bootstrap"], stack)).exitCode, 0);
    assertRun(await waiting.ended, 0, /^ready {2}postgres .*\nready {2}schema /m);
  });
});

describe("wait-for fails at once", () => {
  test("for a wrong password, which is not in the message", async () => {
    const result = await run(through(database.application.port, { password: "not-it-at-all" }));
    assertRun(result, 6, /rejected the login postgres:\/\/cqrs_user:\*\*\*\*@/);
    assert.doesNotMatch(result.stderr, /not-it-at-all/);
  });

  test("for arguments that it cannot understand", async () => {
    assertRun(await run("redis://:secret@host"), 2, /Cannot wait for "redis:\/\/:\*\*\*\*@host"/);
    assertRun(await run("postgres://%zz@host/db"), 2, /It must be a URL/);
    assertRun(await run("tcp://host"), 2, /has no port/);
    assertRun(await run(), 2, /needs a target/);
    assertRun(await run("vault"), 2, /No Vault is configured/);
    assertRun(await run(url, "--timeout", "soon"), 2, /must be a duration/);
    assertRun(await run(url, "--query", "selec 1"), 2, /The query is not valid SQL/);
  });

  test("if the two sides disagree about TLS", async () => {
    assertRun(await run(`${url}?sslmode=require`), 2, /the server does not use TLS/);
    await using plain = await openServer(answersHttp(200));
    assertRun(await run(`https://127.0.0.1:${plain.port}`), 2, /Cannot agree on TLS/);
    await using secure = await openServer(answersHttp(400, "Client sent an HTTP request to an HTTPS server.\n"));
    assertRun(await run(`vault://127.0.0.1:${secure.port}`), 2, /Cannot agree on TLS/);
  });

  test("for schema files that differ from those applied, with the exit code of drift", async () => {
    await using drifted = await withDatabase();
    await drifted.admin`
      update public.schema_migration set checksum = repeat('0', 64) where name = 'migrations/0001-schemas.sql'`;
    const result = await runExternal(drifted, "schema", "--timeout", "20s");
    assertRun(result, 4, /^error: migrations\/0001-schemas\.sql was edited after it was applied$/m);
    assert.match(result.stderr, /^ {2}fix: Undo the edit/m);
  });

  test("after a short grace for a database that nothing creates", async () => {
    const { exitCode, stderr } = await run(through(database.application.port, { database: "never_created" }));
    assert.equal(exitCode, 3, stderr);
    assert.match(stderr, /does not exist \(3D000\) \(\d+ tries\)/);
  });
});

test("on Deno, wait-for needs only the environment and the network of its targets", async () => {
  await using http = await openServer(answersHttp(200));
  const permissions = ["--allow-env", "--allow-net=127.0.0.1"];
  const script = join(assetsDir, "scripts/wait-for.ts");
  const targets = [url, `http://127.0.0.1:${http.port}`, `vault://127.0.0.1:${http.port}`];
  const start = (...words: string[]) => promisify(execFile)(locateDeno(), ["run", "-q", ...words]);
  const { stdout } = await start(...permissions, script, ...targets);
  assert.equal(stdout.match(/^ready/gm)?.length, 3);
  const { stdout: printed } = await start(...permissions, "--allow-run=echo", script, url, "--", "echo", "ran");
  assert.equal(printed, "ran\n");
  await assert.rejects(
    start(...permissions, script, "tcp://localhost:1"),
    /is not allowed to connect to tcp:\/\/localhost:1/,
  );
});

describe("wait-for --timeout", () => {
  test("exits with 124, and reports the last reason and the number of tries of each target", async () => {
    const port = await unusedPort();
    await using silent = await openServer(saysNothing);
    const result = await run(
      `tcp://127.0.0.1:${port}`,
      through(silent.port),
      url,
      "--timeout",
      "3s",
      "--",
      "echo",
      "ran",
    );
    assertRun(result, 124, /nothing listens there \(ECONNREFUSED\) \(\d+ tries\)/);
    assert.match(result.stderr, /no response yet \(1 try\)/);
    assert.doesNotMatch(result.stdout, /ran/, "the command never runs after a failure");
    assert.doesNotMatch(result.stderr, new RegExp(database.application.password));
  });

  test("names the command that sets up a new stack, or starts a stopped one", async () => {
    await using stack = await makeTestStack();
    const expire = () => runScript(["wait-for", "postgres", "schema", "--timeout", "4s"], stack);
    assertRun(await expire(), 124, /^ {2}fix: Run bun run bootstrap, which creates new credentials/m);
    assert.equal((await runScript(["bootstrap"], stack)).exitCode, 0);
    assert.equal((await runScript(["stop"], stack)).exitCode, 0);
    const { exitCode, stderr } = await expire();
    assert.equal(exitCode, 124);
    assert.match(stderr, /^error: Not usable after 4 s$/m);
    const fix =
      /fix: Run bun run bootstrap, which starts the server\.\n +Check the logs of these targets, or set a longer --timeout/;
    assert.match(stderr, fix);
  });

  test("names the command that applies pending schema files", async () => {
    await using empty = await withDatabase({ isEmpty: true });
    const { exitCode, stderr } = await runExternal(empty, "schema", "--timeout", "4s");
    assert.equal(exitCode, 124);
    assert.match(stderr, /why: schema: schema files not applied yet: \d+ \(\d+ (try|tries)\)/);
    assert.match(
      stderr,
      /fix: Run bun run schema apply\.\n +Check the logs of these targets, or set a longer --timeout/,
    );
  });

  test("backs off between tries", async () => {
    await using server = await openServer(closesAtOnce);
    const waiting = begin(`tcp://127.0.0.1:${server.port}`);
    await waiting.saw("accepts connections and closes them at once");
    const startedAt = performance.now();
    // Counts those that were made while this process was suspended.
    await settle();
    const tries = server.connections + 20;
    await until(() => server.connections >= tries);
    const elapsedMs = performance.now() - startedAt;
    assert.ok(elapsedMs >= 20 * 20, `20 tries within ${elapsedMs} ms`);
    waiting.kill("SIGTERM");
    assert.equal((await waiting.ended).exitCode, 143);
  });
});

describe("wait-for … -- command", () => {
  test("passes on streams, arguments and the exit code", async () => {
    const result = await run(url, "--", "sh", "-c", 'echo "out $1"; echo err >&2; exit 7', "sh", "--json");
    assert.equal(result.exitCode, 7);
    assert.equal(result.stdout, "out --json\n");
    assert.match(result.stderr, /^err$/m);
  });

  test("passes on signals, and exits with 128 + n if a signal ended the command", async () => {
    const file = join(dir, "trapped");
    const trap = `trap 'echo got > ${file}; exit 42' TERM; echo up >&2; while :; do sleep 0.05; done`;
    const trapping = begin(url, "--", "sh", "-c", trap);
    await trapping.saw("up");
    trapping.kill("SIGTERM");
    assert.equal((await trapping.ended).exitCode, 42);
    assert.equal(await readFile(file, "utf8"), "got\n");
    const dying = begin(url, "--", "sh", "-c", "echo up >&2; exec sleep 60");
    await dying.saw("up");
    dying.kill("SIGINT");
    assert.equal((await dying.ended).exitCode, 130);
  });

  test("reports that there is no such program", async () => {
    assertRun(await run(url, "--", "no-such-program-at-all"), 9, /Cannot run no-such-program-at-all/);
  });

  test("does not run if a signal ended the wait", async () => {
    const waiting = begin(`tcp://127.0.0.1:${await unusedPort()}`, "--", "echo", "ran");
    await waiting.saw("nothing listens");
    waiting.kill("SIGTERM");
    const { exitCode, stdout } = await waiting.ended;
    assert.deepEqual([exitCode, stdout], [143, ""]);
  });
});
