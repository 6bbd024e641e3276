import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { clearTextRequest, openFakeServer } from "../support/fake-server.ts";
import { type ScriptRun, startScript } from "../support/run-script.ts";
import { runtimeCommand } from "../support/runtime.ts";
import { makeTestStack, type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
let folder: string;

before(async () => {
  stack = await withCluster();
  folder = await mkdtemp(join(tmpdir(), "cqrs-psql-"));
  await mkdir(join(folder, "none"));
  // What the commands themselves run.
  for (const name of ["sh", "sed", "readlink", "tr", "cut", "ps"]) {
    const found = pathsOf(name).find(existsSync);
    if (found !== undefined) await symlink(found, join(folder, "none", name));
  }
});
after(async () => {
  await stack?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function pathsOf(program: string): string[] {
  return (process.env["PATH"] ?? "").split(delimiter).map((path) => join(path, program));
}

interface PsqlRun {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

function start(words: readonly string[], { input = "", env = {} }: PsqlRun = {}) {
  const all = { PATH: join(folder, "none"), ...env };
  return startScript(["psql", ...words], { stackDir: stack.stackDir, input, env: all });
}

function psql(words: readonly string[], options: PsqlRun = {}): Promise<ScriptRun> {
  return start(words, options).ended;
}

/** A program named psql that notes its arguments and variables. */
async function fakePsql(exitCode: number): Promise<{ env: Record<string, string>; seen(): Promise<string> }> {
  const dir = await mkdtemp(join(folder, "fake-"));
  const script = `#!/bin/sh\nprintf '%s\\n' "$@" >'${dir}/seen'\n/usr/bin/env >>'${dir}/seen'\nexit ${exitCode}\n`;
  await writeFile(join(dir, "psql"), script, { mode: 0o755 });
  const env = { PATH: `${dir}:${join(folder, "none")}` };
  return { env, seen: () => readFile(join(dir, "seen"), "utf8").catch(() => "") };
}

test("without psql, stdin is run statement by statement, the last one without a semicolon, too", async () => {
  const input = "select 1 as one, null as nothing;\ncreate table command_model.piped (n int);\nselect\n  ';' as text";
  assert.deepEqual(await psql([], { input }), {
    exitCode: 0,
    stdout: " one | nothing\n-----+---------\n   1 | NULL\n(1 row)\nCREATE TABLE\n text\n------\n ;\n(1 row)\n",
    stderr: "",
  });
  const quit = await psql([], { input: "begin; insert into command_model.piped values (1), (2);\n\\q\nselect 1;\n" });
  assert.deepEqual(quit, { exitCode: 0, stdout: "BEGIN\nINSERT 2\n", stderr: "" });
});

test("without psql, the first statement that fails ends stdin with 1, and shows where it failed", async () => {
  const { exitCode, stdout, stderr } = await psql([], { input: "select 1 as one;\n\nselect 2,\n  nope;\nselect 3;\n" });
  assert.deepEqual([exitCode, stdout], [1, " one\n-----\n   1\n(1 row)\n"]);
  assert.equal(stderr, 'ERROR:  column "nope" does not exist (42703)\nLINE 2:   nope;\n          ^\n');
  const meta = await psql([], { input: "\\dt\nselect 3;\n" });
  assert.deepEqual(meta, {
    exitCode: 1,
    stdout: "",
    stderr: "Only \\q is understood here. Install psql for its other commands.\n",
  });
  assert.equal((await psql([], { input: "copy command_model.nothing from stdin;\n" })).exitCode, 1);
});

test("without psql, --command runs in one transaction, and shows notices", async () => {
  const failed = await psql(["-c", "create table command_model.undone (n int); select 1 / 0"]);
  assert.deepEqual([failed.exitCode, failed.stdout], [1, ""]);
  const done = await psql([
    "--command",
    "do $$ begin raise notice 'seen'; end $$; select to_regclass('command_model.undone') as r",
  ]);
  assert.deepEqual(done, { exitCode: 0, stdout: "DO\n r\n------\n NULL\n(1 row)\n", stderr: "NOTICE: seen\n" });
});

test("without psql, what contains no statement does nothing, and a comment may end the input", async () => {
  const done = { exitCode: 0, stdout: "", stderr: "" };
  for (const sql of ["", " ", ";", "-- nothing", "/* nothing */", " ; -- nothing"]) {
    assert.deepEqual(await psql([`--command=${sql}`]), done, `-c '${sql}'`);
    assert.deepEqual(await psql([], { input: `${sql}\n` }), done, `stdin '${sql}'`);
  }
  const one = " n\n---\n 1\n(1 row)\n";
  for (const sql of ["select 1 as n; -- done", "select 1 as n;;", "select 1 as n;\n/* done\n */\n"]) {
    assert.deepEqual(await psql([], { input: sql }), { ...done, stdout: one }, sql);
    assert.deepEqual(await psql([`--command=${sql}`]), { ...done, stdout: one }, sql);
  }
});

test("without psql, the server reports what its scanner refuses, and COPY is said to need psql", async () => {
  for (const [sql, message] of [
    ["select 123abc;", /^ERROR: {2}trailing junk after numeric literal .+\nLINE 1: select 123abc;\n/],
    ['select "";', /^ERROR: {2}zero-length delimited identifier/],
    ["select 'never ends;", /^ERROR: {2}unterminated quoted string/],
    [
      "select 'copy to stdout'; copy (select 1)\n to  stdout;",
      /^ERROR: {2}COPY from stdin or to stdout needs psql\nHINT: {2}Install psql/,
    ],
  ] as const) {
    const { exitCode, stdout, stderr } = await psql([], { input: `${sql}\nselect 2;\n` });
    assert.equal(exitCode, 1);
    assert.doesNotMatch(stdout, /2/);
    assert.match(stderr, message);
  }
  const all = await psql(["-c", "create table command_model.copied (n int); copy command_model.copied from stdin"]);
  assert.match(`${all.exitCode} ${all.stderr}`, /^1 ERROR: {2}COPY .+ needs psql/);
  const table = await psql(["-c", "select to_regclass('command_model.copied'), 'copy from stdin'"]);
  assert.match(table.stdout, / NULL +\| copy from stdin\n/);
});

test("psql uses the application's login, and with --admin the administrator's with a safe path", async () => {
  const query = ["-c", "select session_user::text || ' ' || current_setting('search_path') as who"];
  assert.match((await psql(query)).stdout, / cqrs_user command_model, read_model, event_store, public\n/);
  assert.match((await psql([...query, "--admin"])).stdout, / postgres pg_catalog\n/);
});

test("a session that ends is an error with exit code 3", async () => {
  const { exitCode, stderr } = await psql(["--admin"], {
    input: "select pg_terminate_backend(pg_backend_pid());\nselect 1;",
  });
  assert.equal(exitCode, 3);
  assert.match(
    stderr,
    /^error: Cannot use postgres:\/\/postgres:\*\*\*\*@.+\n {2}why: terminating connection .+\(57P01\)/,
  );
});

test("a signal cancels the statement that is running", async () => {
  const running = start(["-c", "do $$ begin raise notice 'runs'; perform pg_sleep(60); end $$"]);
  await running.saw("NOTICE: runs");
  running.kill("SIGINT");
  const { exitCode, stderr } = await running.ended;
  assert.equal(exitCode, 130);
  assert.match(stderr, /canceling statement due to user request/);
});

const { env: terminal } = process;
const scriptProgram = pathsOf("script").find(existsSync);
const skip = process.platform !== "linux" || scriptProgram === undefined ? "requires script(1) of util-linux" : false;

test("the prompt runs statements of several lines, and Ctrl-C cancels the one that runs or is typed", {
  skip,
}, async () => {
  const line = runtimeCommand("scripts/psql.ts").join(" ");
  const child = spawn(scriptProgram as string, ["-qfec", line, "/dev/null"], {
    env: {
      HOME: terminal["HOME"],
      SHELL: "/bin/sh",
      TERM: "xterm",
      CQRS_STACK_DIR: stack.stackDir,
      PATH: join(folder, "none"),
    },
  });
  let shown = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (shown += text));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const type = async (text: string, ...expected: string[]) => {
    child.stdin.write(text);
    for (const part of expected) {
      const limit = { timeoutMs: 30_000, intervalMs: 20 };
      assert.ok(await pollUntil(() => shown.includes(part) || undefined, limit), `${part} after ${shown}`);
      shown = shown.slice(shown.indexOf(part) + part.length);
    }
  };
  await type("", "cqrs_db=> ");
  await type("select 1 as one,\r", "cqrs_db-> ");
  await type("null as two;\r", " one | two", "NULL", "(1 row)", "cqrs_db=> ");
  await type("do $$ begin raise notice 'runs'; perform pg_sleep(60); end $$;\r", "NOTICE: runs");
  await type("\u0003", "canceling statement", "cqrs_db=> ");
  await type("selec '\r", "cqrs_db-> ");
  await type("\u0003", "cqrs_db=> ");
  await type("\\d\r", "Only \\q is understood", "cqrs_db=> ");
  await type("select 5 as five;\r", "five", "(1 row)", "cqrs_db=> ");
  await type("select 123abc;\r", "trailing junk", "cqrs_db=> ");
  await type("copy (select 1) to stdout;\r", "needs psql", "cqrs_db=> ");
  await type("select 6 as six; -- done\r", "six", "(1 row)", "cqrs_db=> ");
  await type("select 'never ends;\r", "cqrs_db-> ");
  await type("\\q\r");
  assert.equal(await ended, 0);
});

test("psql on the PATH gets the login in its environment, nothing else that chooses a server, and no password in argv", async () => {
  const fake = await fakePsql(42);
  const env = { ...fake.env, PGHOSTADDR: "192.0.2.1", PGSERVICE: "other", PGOPTIONS: "-c role=other", PGTZ: "UTC" };
  assert.equal((await psql(["-c", "select 1"], { env })).exitCode, 42);
  const seen = await fake.seen();
  const { port, password } = await stack.application();
  assert.match(seen, /^--no-password\n--set=ON_ERROR_STOP=1\n--command=select 1\n/);
  for (const variable of [`PGPORT=${port}`, "PGUSER=cqrs_user", `PGPASSWORD=${password}`, "PGTZ=UTC"]) {
    assert.ok(seen.includes(`\n${variable}\n`), variable);
  }
  assert.doesNotMatch(seen, /PGHOSTADDR|PGSERVICE|PGOPTIONS|DATABASE_URL/);
  await psql(["--admin", "--quiet", "--", "--csv", "-f", "a b.sql"], { env });
  assert.match(await fake.seen(), /^--no-password\n--csv\n-f\na b\.sql\n[\s\S]*PGOPTIONS=-c search_path=pg_catalog\n/);
});

test("a statement that psql reports as failed exits with 1, but arguments of the user keep psql's exit code", async () => {
  const { env } = await fakePsql(3);
  assert.equal((await psql([], { env, input: "selec 1" })).exitCode, 1);
  assert.equal((await psql(["--quiet", "--", "-f", "x.sql"], { env })).exitCode, 3);
});

const realPsql = pathsOf("psql").find(existsSync);

test("the psql of this machine runs SQL and reports what fails as our own does", {
  skip: realPsql === undefined && "requires psql",
}, async () => {
  const env = { PATH: process.env["PATH"] ?? "" };
  const done = await psql(["--quiet", "--", "-XAt"], { env, input: "select session_user" });
  assert.deepEqual(done, { exitCode: 0, stdout: "cqrs_user\n", stderr: "" });
  const failed = await psql([], { env, input: "select 1 / 0;\nselect 'not run'" });
  assert.equal(failed.exitCode, 1);
  assert.match(failed.stderr, /division by zero/);
  assert.doesNotMatch(failed.stdout, /not run/);
});

test("psql is not started if the server asks for the password in clear text", async () => {
  await using impostor = await openFakeServer((socket) => socket.write(clearTextRequest));
  const fake = await fakePsql(0);
  const env = { ...fake.env, PGHOST: "127.0.0.1", PGPORT: `${impostor.port}`, PGPASSWORD: "for-another-server" };
  const { exitCode, stderr } = await psql(["--mode", "external", "--admin"], { env });
  assert.equal(exitCode, 6);
  assert.match(stderr, /^error: Did not send the password to /);
  assert.equal(await fake.seen(), "");
  assert.equal(impostor.answers().length, 0);
});

test("psql says what is wrong with its arguments, or that the server is not running", async () => {
  const refused = async (words: string[]) => {
    const { exitCode, stderr, stdout } = await psql(words);
    return `${exitCode} ${stderr}${stdout}`;
  };
  assert.match(
    await refused(["--quiet", "--", "--csv"]),
    /^9 error: There is no psql to pass arguments to\n.+\n {2}fix: Install psql/,
  );
  assert.match(
    await refused(["select 1"]),
    /^2 error: Unexpected argument "select 1"\n {2}fix: Pass SQL with --command\./,
  );
  assert.match(await refused(["--json"]), /^2 .+"message":"psql has no JSON output"/);
  assert.match(await refused(["-c"]), /^2 error: -c needs a value/);
  await using stopped = await makeTestStack();
  const { exitCode, stderr } = await startScript(["psql"], { stackDir: stopped.stackDir }).ended;
  assert.equal(exitCode, 3);
  assert.match(stderr, /^error: PostgreSQL is not running\n/);
});
