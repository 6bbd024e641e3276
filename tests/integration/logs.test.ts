import assert from "node:assert/strict";
import { appendFile, mkdir, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { localVaultFiles } from "../../scripts/lib/stack/local-vault.ts";
import { runForData, runScript, type StartedScript, startScript } from "../support/run-script.ts";
import { makeTestStack, type TestStack, withCluster } from "../support/stack.ts";
import { jsonContract } from "../unit/contracts.ts";

let stack: TestStack;
const started: StartedScript[] = [];

before(async () => {
  stack = await withCluster();
});
after(async () => {
  // A test that has failed does not stop its own.
  for (const { kill } of started) kill("SIGKILL");
  await stack?.[Symbol.asyncDispose]();
});

/** Runs statements as the superuser; those that fail are logged, too. */
async function run(...statements: string[]): Promise<void> {
  await using connection = openConnection(await stack.administrator());
  for (const statement of statements) await connection.sql.unsafe(statement).catch(() => {});
}

/** A stack whose log consists of these files, the first one written first. */
async function withLog(files: Readonly<Record<string, string>>): Promise<TestStack & { readonly folder: string }> {
  const made = await makeTestStack();
  const folder = join(made.dataDir, "log");
  await mkdir(folder, { recursive: true });
  for (const [index, [name, text]] of Object.entries(files).entries()) {
    await writeFile(join(folder, name), text);
    await utimes(join(folder, name), index + 1, index + 1);
  }
  return { ...made, folder };
}

async function linesOf(stackDir: string, ...words: string[]): Promise<readonly string[]> {
  const data = await runForData<{ lines: string[] }>(["logs", ...words], { stackDir });
  assert.deepEqual(Object.keys(data), [...jsonContract.logs]);
  return data.lines;
}

type Shows = (text: string, meanwhile?: () => Promise<void>) => Promise<void>;

/** Follows a log, and waits for what it shows. */
function follow(stackDir: string, ...words: string[]): StartedScript & { shows: Shows } {
  const script = startScript(["logs", "--follow", ...words], { stackDir });
  started.push(script);
  let shown = "";
  script.child.stdout?.on("data", (text: string) => {
    shown += text;
  });
  const shows: Shows = async (text, meanwhile = async () => {}) => {
    const look = async () => {
      await meanwhile();
      return shown.includes(text) || undefined;
    };
    const found = await pollUntil(look, { timeoutMs: 30_000, intervalMs: 20 });
    assert.ok(found, `shows ${text}, after ${shown}`);
  };
  return { ...script, shows };
}

test("logs shows the last lines of the server's log, and no password of the stack", async () => {
  await run("select 1 / 0 as first_mistake", "select 1 / 0 as second_mistake");
  const shown = await linesOf(stack.stackDir, "--lines", "3");
  assert.equal(shown.length, 3);
  assert.match(shown.at(-1) ?? "", /second_mistake$/);
  const all = (await linesOf(stack.stackDir, "--lines", "1000000")).join("\n");
  assert.match(all, /first_mistake[\s\S]+second_mistake/);
  for (const { password } of [await stack.administrator(), await stack.application()]) {
    assert.ok(password !== undefined && !all.includes(password));
  }
});

test("logs hides passwords in statements, connection strings and URLs, wherever the statement breaks its lines", async () => {
  await run(
    "create role one login password 'first''secret'",
    "alter role one\n  password\n  E'second\\'secret' connection limit 3",
    "alter role one password $x$third secret$x$",
    "select 'no statement password=fourth-secret' / 0",
    "select 'postgres://one:fifth%2Fsecret@host/db' / 0",
    "alter role one passwort 'not a password'",
  );
  const shown = (await linesOf(stack.stackDir, "--lines", "1000000")).join("\n");
  assert.doesNotMatch(shown, /(first|second|third|fourth|fifth).{0,3}secret/);
  assert.match(shown, /create role one login password '\*\*\*\*'\n/);
  assert.match(shown, /password\s+'\*\*\*\*' connection limit 3\n/);
  assert.match(shown, /postgres:\/\/one:\*\*\*\*@host\/db/);
  assert.match(shown, /passwort 'not a password'/);
});

test("logs hides passwords in variables and JSON, and of a quote that stays open only its own entry", async () => {
  const entries = [
    "1 PGPASSWORD=secret POSTGRES_PASSWORD='secret' kept",
    '1 {"password":"secret","n":1} {"password": "a\\"secret"} kept',
    "1 Password: secret kept",
    "1 alter role a\n\tpassword\n\t'a''secret' kept\n\tkept",
    "1 alter role a password 'secret",
    "1 it's kept",
    "1 alter role a password $x$secret\n\tsecret",
    "1 kept: no password supplied",
    "1 'kept'",
    "1 password e'a\\'secret' kept, $$kept$$",
  ];
  const text = `${entries.join("\n")}\n`;
  await using made = await withLog({ "postgresql-Mon.log": text });
  const shown = await linesOf(made.stackDir);
  assert.doesNotMatch(shown.join("\n"), /secret/);
  for (const [index, line] of text.split("\n").slice(0, -1).entries()) {
    assert.equal(shown[index]?.match(/kept/g)?.length, line.match(/kept/g)?.length, line);
  }
  for (let lines = 1; lines <= shown.length; lines++) {
    assert.deepEqual(await linesOf(made.stackDir, "--lines", `${lines}`), shown.slice(-lines));
  }
});

test("logs --follow hides a password that arrives after the word before it", async () => {
  await using made = await withLog({ "postgresql-Mon.log": "1 alter role a\n\tpassword\n" });
  const file = join(made.folder, "postgresql-Mon.log");
  const following = follow(made.stackDir, "--lines", "0");
  // What is appended before the end of the file is looked for is not shown.
  await following.shows("ready\n", () => appendFile(file, "\t-- ready\n"));
  for (const [text, mark] of [
    ["1 alter role a password\n", "role a password\n"],
    ["\t'secret' first\n", "'****' first\n"],
    ["1 alter role a password 'secret\n", "role a password '****'\n"],
    ["\tsecret' second\n1 third\n", "1 third\n"],
  ] as const) {
    await appendFile(file, text);
    await following.shows(mark);
  }
  following.kill("SIGINT");
  const { stdout } = await following.ended;
  assert.doesNotMatch(stdout, /secret/);
  assert.match(stdout, / second\n/);
});

test("logs shows no control sequence that a client has sent", async () => {
  await run("select 'a\u001b[31mb\u001b]0;title\u0007c\rd\te' / 0");
  assert.match((await linesOf(stack.stackDir, "--lines", "1"))[0] ?? "", /select 'abcd\te' \/ 0$/);
});

test("logs --follow continues in the next file of a running server, and ends with 130 and without an error", async () => {
  const following = follow(stack.stackDir, "--lines", "0");
  for (const name of ["before", "after"]) {
    await run(`alter system set log_filename = '${name}.log'`, "select pg_reload_conf()", "select pg_rotate_logfile()");
    // A statement may be logged before the log is read for the first time, or before it is rotated.
    await following.shows(`${name}_rotation`, () => run(`select 1 / 0 as ${name}_rotation`));
  }
  assert.match((await linesOf(stack.stackDir)).join("\n"), /before_rotation[\s\S]+after_rotation/);
  following.kill("SIGINT");
  assert.deepEqual({ ...(await following.ended), stdout: "" }, { exitCode: 130, stdout: "", stderr: "" });
});

test("logs reads a log of several files in the order in which they were written", async () => {
  await using made = await withLog({
    "postgresql-Tue.log": "1\n2\n",
    "start.log": "3\n",
    "postgresql-Mon.log": "4\n5",
  });
  assert.deepEqual(await linesOf(made.stackDir), ["1", "2", "3", "4", "5"]);
  assert.deepEqual(await linesOf(made.stackDir, "--lines", "4"), ["2", "3", "4", "5"]);
  assert.deepEqual(await linesOf(made.stackDir, "--lines", "0"), []);
});

test("logs --follow shows a file that was rewritten from its beginning, shorter or longer than before", async () => {
  await using made = await withLog({ "postgresql-Mon.log": "old line\n" });
  const file = join(made.folder, "postgresql-Mon.log");
  const following = follow(made.stackDir);
  await following.shows("old line\n");
  await writeFile(file, "new\n");
  await following.shows("new\n");
  await writeFile(file, "another beginning, and longer than before\n");
  await following.shows("another beginning, and longer than before\n");
  await appendFile(file, "half a ");
  await appendFile(file, "line\n");
  await following.shows("half a line\n");
  following.kill("SIGTERM");
  const { exitCode, stdout } = await following.ended;
  assert.deepEqual(
    [exitCode, stdout],
    [143, "old line\nnew\nanother beginning, and longer than before\nhalf a line\n"],
  );
});

test("logs finds the end of a log of 1 GB without reading the rest", async () => {
  await using made = await withLog({ "postgresql-Mon.log": "" });
  const file = join(made.folder, "postgresql-Mon.log");
  await truncate(file, 1e9);
  await appendFile(file, "\nlast but one\nlast\n");
  const started = startScript(["logs", "--lines", "2"], { stackDir: made.stackDir });
  assert.deepEqual(await started.ended, { exitCode: 0, stdout: "last but one\nlast\n", stderr: "" });
});

test("logs --follow ends when its reader has gone", async () => {
  await using made = await withLog({ "postgresql-Mon.log": "line\n" });
  const following = follow(made.stackDir);
  await following.shows("line");
  following.child.stdout?.destroy();
  const isOver = following.ended.then(() => true);
  const written = await pollUntil(
    async () => {
      await appendFile(join(made.folder, "postgresql-Mon.log"), "more\n");
      return await Promise.race([isOver, Promise.resolve(undefined)]);
    },
    { timeoutMs: 30_000, intervalMs: 50 },
  );
  assert.equal(written, true);
  assert.equal((await following.ended).exitCode, 0);
});

test("logs vault shows the log of the local Vault", async () => {
  await using made = await makeTestStack();
  const { log } = localVaultFiles(made.stackDir);
  await mkdir(join(log, ".."), { recursive: true });
  await writeFile(log, "==> Vault server started!\n");
  assert.deepEqual(await linesOf(made.stackDir, "vault"), ["==> Vault server started!"]);
});

test("logs says what is wrong if there is no log, or if it is elsewhere", async () => {
  await using made = await makeTestStack();
  const { stackDir } = made;
  const refused = async (words: string[], env = {}) => {
    const { exitCode, stdout, stderr } = await runScript(["logs", ...words], { stackDir, env });
    assert.equal(stdout, "");
    return `${exitCode} ${stderr}`;
  };
  assert.match(
    await refused([]),
    /^3 error: There is no log of the server\n {2}why: .+\n {2}fix: Run bun run bootstrap\.\n/,
  );
  assert.match(
    await refused(["vault"]),
    /^3 error: There is no log of a local Vault\n.+\n {2}fix: .+ --secrets vault\.\n/,
  );
  assert.match(
    await refused(["init"]),
    /^2 error: There is no service "init"\n {2}fix: Pass one of: postgres, vault\./,
  );
  assert.match(await refused(["--follow", "--json"]).catch(String), /cannot be combined/);
  assert.match(await refused(["--lines", "-1"]), /^2 error: --lines /);
  const external = { PGHOST: "db.example.com", VAULT_ADDR: "http://vault.example.com" };
  const server = await refused(["--mode", "external"], external);
  assert.match(
    server,
    /^2 error: The log of an external server .+\n {2}why: .+: db\.example\.com\.\n {2}fix: .+pg_current/,
  );
  assert.match(
    await refused(["vault"], external),
    /^2 error: The log of an external Vault .+\n.+: vault\.example\.com\./,
  );
});
