import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { assetsDir } from "../../scripts/lib/paths.ts";
import { lockStack } from "../../scripts/lib/stack/lock.ts";
import { copyProject } from "../support/project-copy.ts";
import { type ScriptRun, startProgram, startScript } from "../support/run-script.ts";

const escapeSequence = "\u001b[";
const fixtures = "tests/support/fixtures";
const scripts = (await readdir(join(assetsDir, "scripts"))).filter((name) => name.endsWith(".ts"));

/** A stack that nothing was ever put in. */
let stackDir: string;
before(async () => {
  stackDir = await mkdtemp(join(tmpdir(), "cqrs-cli-"));
});
after(() => rm(stackDir, { recursive: true, force: true }));

function run(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ScriptRun> {
  return startScript(words, { stackDir, env }).ended;
}

interface Failure {
  readonly ok: boolean;
  readonly error: Readonly<Record<"code" | "message" | "why" | "fix", string | null>>;
}

function failureOf({ stdout }: ScriptRun): Failure {
  assert.equal(stdout.trimEnd().split("\n").length, 1, stdout);
  const failure = JSON.parse(stdout) as Failure;
  assert.equal(failure.ok, false);
  assert.deepEqual(Object.keys(failure.error), ["code", "message", "why", "fix"]);
  return failure;
}

const misunderstood: readonly (readonly [line: string, message: string, fix: RegExp])[] = [
  ["status --jsn", "Unknown flag --jsn", /Did you mean --json\?/],
  ["destroy --yess", "Unknown flag --yess", /Did you mean --yes\?/],
  ["bootstrap --por 1", "Unknown flag --por", /Did you mean --port\?/],
  ["bootstrap --port", "--port needs a value", /--port=<value>/],
  ["bootstrap --help=true", "--help is a switch and takes no value", /leave it out/],
  ["stop now", 'Unexpected argument "now"', /See --help/],
  ["schema aply", 'Unknown command "aply"', /Did you mean apply\?/],
  ["schema", "schema needs a command", /apply, status/],
  ["schema --jsn", "Unknown flag --jsn", /Did you mean --json\?/],
  ["schema apply --jsn", "Unknown flag --jsn", /Did you mean --json\?/],
  ["main statsu", 'Unknown command "statsu"', /Did you mean status\?/],
  ["main schema aply", 'Unknown command "aply"', /Did you mean apply\?/],
  [
    "main",
    "cqrs-postgres needs a command",
    /bootstrap, status, stop, destroy, seed, projections, secrets, wait-for, schema, backup, restore/,
  ],
];

for (const [line, message, fix] of misunderstood) {
  test(`${line} exits with 2 and tells on stderr what was meant`, async () => {
    const { exitCode, stdout, stderr } = await run(line.split(" "));
    assert.deepEqual([exitCode, stdout], [2, ""]);
    assert.ok(stderr.startsWith(`error: ${message}\n`), stderr);
    assert.match(stderr, fix);
  });
}

test("with --json a failure is one object on stdout and nothing on stderr", async () => {
  const failed = await run(["status", "--jsn", "--json"]);
  assert.deepEqual([failed.exitCode, failed.stderr], [2, ""]);
  assert.deepEqual(failureOf(failed), {
    ok: false,
    error: { code: "USAGE", message: "Unknown flag --jsn", why: null, fix: "Did you mean --json? See --help." },
  });
});

test("--help of every script is a result, and needs none of the packages that do the work", async () => {
  await using project = await copyProject({ packages: ["citty"] });
  for (const name of scripts) {
    const started = startProgram(join(project.dir, "scripts", name), ["--help"]);
    const { exitCode, stdout, stderr } = await started.ended;
    assert.deepEqual([exitCode, stderr], [0, ""], `${name}: ${stdout}${stderr}`);
    assert.match(stdout, /USAGE/);
    assert.match(stdout, /-h, --help {4}Print this help/);
    assert.ok(stdout.includes(name === "main.ts" ? manifest.name : name.replace(".ts", "")));
  }
  // Proof that a script that works would have missed them.
  const worked = await startProgram(join(project.dir, "scripts/status.ts"), [], { env: { CQRS_STACK_DIR: stackDir } })
    .ended;
  assert.equal(worked.exitCode, 1);
  assert.match(worked.stderr, /valibot|postgres/);
});

for (const line of [
  "schema apply --help",
  "main schema apply -h",
  "main --help",
  "schema -h",
  "status --database -h",
]) {
  test(`${line} prints help`, async () => {
    const { exitCode, stdout, stderr } = await run(line.split(" "));
    assert.deepEqual([exitCode, stderr], [0, ""]);
    assert.match(stdout, /USAGE/);
  });
}

for (const line of ["status --version", "main --version", "main schema apply --version"]) {
  test(`${line} prints the version`, async () => {
    const { exitCode, stdout } = await run(line.split(" "));
    assert.deepEqual([exitCode, stdout], [0, `${manifest.name} ${manifest.version}\n`]);
  });
}

const bothWays: readonly (readonly [line: string, exitCode: number])[] = [
  ["status", 3],
  ["status --json", 3],
  ["status --env --json", 3],
  ["stop", 0],
  ["destroy", 0],
  ["schema status", 3],
  ["schema apply --json", 3],
  ["bootstrap --port none", 2],
  ["bootstrap --port none --json", 2],
  ["schema aply --json", 2],
];

for (const [line, exitCode] of bothWays) {
  test(`${line} is the same by itself and through main.ts`, async () => {
    const direct = await run(line.split(" "));
    assert.deepEqual(await run(["main", ...line.split(" ")]), direct);
    assert.equal(direct.exitCode, exitCode, direct.stderr);
    if (line.endsWith("--json")) failureOf(direct);
  });
}

test("a success has the same fields by itself and through main.ts", async () => {
  for (const words of [["stop"], ["main", "stop"]]) {
    const { durationMs, ...rest } = JSON.parse((await run([...words, "--json"])).stdout);
    assert.equal(typeof durationMs, "number");
    assert.deepEqual(rest, { ok: true, command: "stop", data: { pid: null, vaultPid: null, containers: [] } });
  }
});

const colors: readonly (readonly [
  env: Readonly<Record<string, string>>,
  flags: readonly string[],
  isColored: boolean,
])[] = [
  [{}, [], false],
  [{ FORCE_COLOR: "1" }, [], true],
  [{ FORCE_COLOR: "0" }, [], false],
  [{ FORCE_COLOR: "1" }, ["--no-color"], false],
  [{ FORCE_COLOR: "1", NO_COLOR: "1" }, [], false],
  [{ FORCE_COLOR: "1", NO_COLOR: "yes" }, [], false],
  [{ FORCE_COLOR: "1", NO_COLOR: "" }, [], true],
  [{}, ["--color"], true],
];

for (const [env, flags, isColored] of colors) {
  const given = [...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...flags].join(" ") || "nothing";
  test(`${given} makes the output ${isColored ? "coloured" : "plain"}`, async () => {
    const failed = await run(["status", ...flags], env);
    assert.equal(failed.exitCode, 3);
    assert.equal(failed.stderr.includes(escapeSequence), isColored);
    const help = await run(["status", "--help", ...flags], env);
    assert.equal(help.stdout.includes(escapeSequence), isColored);
  });
}

/** A stack with a folder that looks like a cluster's. */
async function makeStackWithData(): Promise<AsyncDisposable & { readonly dir: string; readonly file: string }> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-data-"));
  const file = join(dir, "postgres/data/PG_VERSION");
  await mkdir(join(dir, "postgres/data"), { recursive: true });
  await writeFile(file, "16\n");
  return { dir, file, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

test("destroy without --yes exits with 8, shows what it would delete, and deletes nothing", async () => {
  await using stack = await makeStackWithData();
  const { exitCode, stdout, stderr } = await startScript(["destroy"], { stackDir: stack.dir }).ended;
  assert.deepEqual([exitCode, stdout], [8, ""]);
  assert.match(stderr, /^error: Nothing was deleted$/m);
  assert.ok(stderr.includes(`to be deleted: ${join(stack.dir, "postgres/data")} (3 B, rows not counted)`), stderr);
  assert.match(stderr, /fix: bun run destroy --yes/);
  assert.equal(await readFile(stack.file, "utf8"), "16\n");
  const failed = await startScript(["destroy", "--json"], { stackDir: stack.dir }).ended;
  assert.equal(failed.exitCode, 8);
  assert.equal(failureOf(failed).error.code, "REFUSED");
  assert.equal(await readFile(stack.file, "utf8"), "16\n");
});

test("--quiet leaves out progress but not errors", async () => {
  await using first = await makeStackWithData();
  const loud = await startScript(["destroy", "--yes"], { stackDir: first.dir }).ended;
  assert.match(loud.stderr, /^to be deleted: /);
  await using second = await makeStackWithData();
  const refused = await startScript(["destroy", "--quiet"], { stackDir: second.dir }).ended;
  assert.match(refused.stderr, /^error: Nothing was deleted\n/);
  const quiet = await startScript(["destroy", "--quiet", "--yes"], { stackDir: second.dir }).ended;
  assert.deepEqual([quiet.exitCode, quiet.stderr], [0, ""]);
});

/** Starts bootstrap on a stack whose lock is taken, and waits until it says so. */
async function startWaiting(args: readonly string[]) {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-locked-"));
  const lock = await lockStack(dir, {
    command: "a test",
    timeoutMs: 10_000,
    signal: new AbortController().signal,
    onWait: () => assert.fail("the lock of a new stack is free"),
  });
  const started = startScript(["bootstrap", ...args], { stackDir: dir });
  await started.saw(`waiting for a test (pid ${process.pid}), which is using this stack`);
  return {
    ...started,
    async [Symbol.asyncDispose]() {
      started.kill("SIGKILL");
      await started.ended;
      lock[Symbol.dispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

for (const [signal, exitCode] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`${signal} ends a script with ${exitCode}`, async () => {
    await using waiting = await startWaiting([]);
    waiting.kill(signal);
    const ended = await waiting.ended;
    assert.deepEqual([ended.exitCode, ended.stdout], [exitCode, ""]);
    assert.match(ended.stderr, new RegExp(`error: Stopped by ${signal}\n {2}why: .*\n {2}fix: `));
  });

  test(`${signal} gives a script with --json the shape of an error`, async () => {
    await using waiting = await startWaiting(["--json"]);
    waiting.kill(signal);
    const ended = await waiting.ended;
    assert.equal(ended.exitCode, exitCode);
    assert.deepEqual(
      [failureOf(ended).error.code, failureOf(ended).error.message],
      ["INTERRUPTED", `Stopped by ${signal}`],
    );
  });

  test(`a second ${signal} ends a script at once`, async () => {
    const { child, ended, saw, kill } = startProgram(`${fixtures}/ignores-signals.ts`, []);
    try {
      await saw("at work");
      kill(signal);
      await saw("told to stop");
      kill(signal);
      assert.equal((await ended).exitCode, null);
      assert.equal(child.signalCode, signal);
    } finally {
      kill("SIGKILL");
    }
  });
}

test("a lock that is held longer than --timeout ends a script with 5, naming the holder", async () => {
  await using waiting = await startWaiting(["--timeout", "100ms"]);
  const { exitCode, stdout, stderr } = await waiting.ended;
  assert.deepEqual([exitCode, stdout], [5, ""]);
  assert.ok(stderr.includes(`error: a test (pid ${process.pid}) is using this stack\n`), stderr);
});

test("an exception that nobody foresaw prints its stack and exits with 1", async () => {
  const { exitCode, stdout, stderr } = await startProgram(`${fixtures}/throws.ts`, []).ended;
  assert.deepEqual([exitCode, stdout], [1, ""]);
  assert.match(stderr, /TypeError: something unforeseen\n +at .*throws\.ts/);
});

test("with --json an exception that nobody foresaw is told on stdout too", async () => {
  const failed = await startProgram(`${fixtures}/throws.ts`, ["--json"]).ended;
  assert.equal(failed.exitCode, 1);
  const { code, message } = failureOf(failed).error;
  assert.deepEqual([code, message], ["BUG", "something unforeseen"]);
  assert.match(failed.stderr, /TypeError: something unforeseen\n +at /);
});
