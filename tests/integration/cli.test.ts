import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
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
import { runtimeCommand } from "../support/runtime.ts";

const escapeSequence = "\u001b[";
const fixtures = "tests/support/fixtures";
const scripts = (await readdir(join(assetsDir, "scripts"))).filter((name) => name.endsWith(".ts"));

/** An empty stack. */
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

const see = (command: string) => new RegExp(`^ {2}fix: See bun run ${command} --help\\.$`, "m");

const misunderstood: readonly (readonly [line: string, message: string, fix: RegExp])[] = [
  ["status --jsn", "Unknown flag --jsn", /Did you mean --json\?/],
  ["destroy --yess", "Unknown flag --yess", /Did you mean --yes\?/],
  ["bootstrap --por 1", "Unknown flag --por", /Did you mean --port\?/],
  ["bootstrap --port", "--port needs a value", /--port=<value>/],
  ["bootstrap --help=true", "--help is a switch and takes no value", /leave it out/],
  ["stop now", 'Unexpected argument "now"', see("stop")],
  ["schema aply", 'Unknown command "aply"', /Did you mean schema apply\?/],
  [
    "schema",
    "schema needs a command",
    /apply, status, verify, new, repair, lint, dump\. See bun run schema --help\.$/m,
  ],
  ["schema --jsn", "Unknown flag --jsn", /Did you mean --json\?/],
  ["schema apply --jsn", "Unknown flag --jsn", /Did you mean --json\? See bun run schema apply --help\.$/m],
  ["main statsu", 'Unknown command "statsu"', /Did you mean status\? See bun run cqrs --help\.$/m],
  ["main schema aply", 'Unknown command "aply"', /Did you mean schema apply\? See bun run schema --help\.$/m],
  ["main bogus", 'Unknown command "bogus"', see("cqrs")],
  ["backup creat", 'Unexpected argument "creat"', /Did you mean backup create\? See bun run backup --help\.$/m],
  ["backup now", 'Unexpected argument "now"', see("backup")],
  ["backup --keep 3", "Unknown flag --keep", see("backup")],
  ["status -j", "Unknown flag -j", see("status")],
  ["status --color --no-color", "--color and --no-color cannot be combined", see("status")],
  ["projections run --partitions 0", '--partitions must be a whole number from 1, not "0"', see("projections run")],
  ["projections run --partitions abc", '--partitions must be a whole number from 1, not "abc"', see("projections run")],
  ["projections run --partitions 1.5", '--partitions must be a whole number from 1, not "1.5"', see("projections run")],
  ["backup prune --keep 0", '--keep must be a whole number from 1 to 999999, not "0"', see("backup prune")],
  ["backup prune --keep-days x", '--keep-days must be a whole number from 1 to 999999, not "x"', see("backup prune")],
  ["backup --output archive", "--output must be a file name that ends in .tar, or -", see("backup")],
  ["restore latest --until-position x", '--until-position must be a whole number from 0, not "x"', see("restore")],
  ["restore latest --until-time soon", "--until-time must be a time such as 2026-11-25T03:15:00Z", see("restore")],
  ["restore latest --only read_model", '--only must be event_store, not "read_model"', see("restore")],
  ["restore", "restore needs an archive", /bun run restore latest\. See bun run restore --help\.$/m],
  [
    "wait-for tcp://127.0.0.1:1 --timeout soon",
    '--timeout must be a duration such as 500ms, 60s, 5m, 2h or 7d, at most 24d, not "soon"',
    see("wait-for"),
  ],
  [
    "main",
    "cqrs-postgres needs a command",
    /bootstrap, status, verify, doctor, psql, logs, stop, destroy, reset, seed, projections, secrets, wait-for, schema, backup, restore/,
  ],
];

for (const [line, message, fix] of misunderstood) {
  test(`${line} exits with 2 and explains itself on stderr`, async () => {
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
    error: {
      code: "USAGE",
      message: "Unknown flag --jsn",
      why: null,
      fix: "Did you mean --json? See bun run status --help.",
    },
  });
});

test("--help of every script goes to stdout, and needs none of the packages that do the work", async () => {
  await using project = await copyProject({ packages: ["citty"] });
  for (const name of scripts) {
    const started = startProgram(join(project.dir, "scripts", name), ["--help"]);
    const { exitCode, stdout, stderr } = await started.ended;
    assert.deepEqual([exitCode, stderr], [0, ""], `${name}: ${stdout}${stderr}`);
    assert.match(stdout, /^USAGE$/m);
    assert.match(stdout, /^ {2}-h, --help {2,}Print this help$/m);
    assert.match(stdout, /^EXAMPLES$/m);
    const isRoot = name === "main.ts" || name === "bin.ts";
    assert.ok(stdout.includes(`bun run ${isRoot ? "<command>" : name.replace(".ts", "")} `));
  }
  // Proof that a script would have failed without them.
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
    assert.match(stdout, /^USAGE$/m);
  });
}

test("--help --json and --version --json print one object", async () => {
  for (const words of [
    ["schema", "apply"],
    ["main", "schema", "apply"],
  ]) {
    const help = await run([...words, "--help", "--json"]);
    assert.equal(help.stdout.trimEnd().split("\n").length, 1);
    const { ok, command, data } = JSON.parse(help.stdout);
    assert.deepEqual([help.exitCode, ok, command, data.name], [0, true, "schema apply", "schema apply"]);
    assert.ok(data.flags.some(({ name }: { name: string }) => name === "--with <name>"));
    const version = JSON.parse((await run([...words, "--version", "--json"])).stdout);
    assert.deepEqual(version.data, { name: manifest.name, version: manifest.version });
  }
});

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
  ["backup creat", 2],
  ["projections run --partitions 0 --json", 2],
];

for (const [line, exitCode] of bothWays) {
  test(`${line} prints the same whether run directly or through main.ts`, async () => {
    const direct = await run(line.split(" "));
    assert.deepEqual(await run(["main", ...line.split(" ")]), direct);
    assert.equal(direct.exitCode, exitCode, direct.stderr);
    if (line.endsWith("--json")) failureOf(direct);
  });
}

test("a successful run has the same fields whether started directly or through main.ts", async () => {
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
  assert.match(stderr, /^ {2}why: There is no terminal to ask on, or --json is set\. The plan:$/m);
  assert.ok(
    stderr.includes(`deletes: ${join(stack.dir, "postgres/data")} (3 B, rows not counted: the server is stopped)`),
    stderr,
  );
  assert.match(stderr, /fix: Run bun run destroy --yes/);
  assert.equal(await readFile(stack.file, "utf8"), "16\n");
  const failed = await startScript(["destroy", "--json"], { stackDir: stack.dir }).ended;
  assert.equal(failed.exitCode, 8);
  assert.equal(failureOf(failed).error.code, "REFUSED");
  assert.equal(await readFile(stack.file, "utf8"), "16\n");
});

const hasTerminals = process.platform === "linux" && spawnSync("script", ["--version"]).status === 0;
const skipTerminal = !hasTerminals && "needs the program script of util-linux";
const answers: readonly (readonly [keys: string, exitCode: number, message: string])[] = [
  ["n\n", 8, "Nothing was deleted"],
  ["\n", 8, "Nothing was deleted"],
  ["\u0004", 8, "Nothing was deleted"],
  ["\u0003", 130, "error: Stopped by SIGINT"],
  ["y\n", 0, "destroyed "],
];

for (const [keys, exitCode, message] of answers) {
  const title = `destroy asks on a terminal, and ${JSON.stringify(keys)} exits with ${exitCode}`;
  test(title, { skip: skipTerminal }, async () => {
    await using stack = await makeStackWithData();
    const words = runtimeCommand("scripts/destroy.ts").concat("--no-color").join(" ");
    // A terminal inside `docker run -t` may claim to have no columns.
    const child = spawn("script", ["-qec", `stty cols 0; exec ${words}`, "/dev/null"], {
      env: { ...process.env, CI: "", TERM: "xterm", CQRS_STACK_DIR: stack.dir },
    });
    let seen = "";
    let isAsked = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      seen += text;
      if (isAsked || !seen.includes("[y/N]")) return;
      isAsked = true;
      child.stdin.write(keys);
    });
    const [code] = await once(child, "close");
    assert.equal(code, exitCode, seen);
    assert.ok(seen.includes(message), seen);
    assert.equal(seen.includes("error:"), exitCode === 130, seen);
    assert.equal(existsSync(stack.file), exitCode !== 0);
  });
}

test("--quiet leaves out progress but not errors", async () => {
  await using first = await makeStackWithData();
  const loud = await startScript(["destroy", "--yes"], { stackDir: first.dir }).ended;
  assert.match(loud.stderr, /^deletes: /);
  await using second = await makeStackWithData();
  const refused = await startScript(["destroy", "--quiet"], { stackDir: second.dir }).ended;
  assert.match(refused.stderr, /^error: Nothing was deleted\n/);
  const quiet = await startScript(["destroy", "--quiet", "--yes"], { stackDir: second.dir }).ended;
  assert.deepEqual([quiet.exitCode, quiet.stderr], [0, ""]);
});

/** Starts bootstrap on a stack whose lock is held, and waits until it says so. */
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
  test(`${signal} makes a script exit with ${exitCode}`, async () => {
    await using waiting = await startWaiting([]);
    waiting.kill(signal);
    const ended = await waiting.ended;
    assert.deepEqual([ended.exitCode, ended.stdout], [exitCode, ""]);
    assert.match(ended.stderr, new RegExp(`error: Stopped by ${signal}\n {2}why: .*\n {2}fix: `));
  });

  test(`a script with --json prints an error object on ${signal}`, async () => {
    await using waiting = await startWaiting(["--json"]);
    waiting.kill(signal);
    const ended = await waiting.ended;
    assert.equal(ended.exitCode, exitCode);
    assert.deepEqual(
      [failureOf(ended).error.code, failureOf(ended).error.message],
      ["INTERRUPTED", `Stopped by ${signal}`],
    );
  });

  test(`a second ${signal} kills a script`, async () => {
    const { child, ended, saw, kill } = startProgram(`${fixtures}/ignores-signals.ts`, []);
    try {
      await saw("running");
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

async function stopWhileRunning(args: readonly string[]): Promise<ScriptRun> {
  const { saw, kill, ended } = startProgram(`${fixtures}/stops-on-signal.ts`, args);
  await saw("running");
  kill("SIGINT");
  return ended;
}

test("a stopped run prints its partial result and the error", async () => {
  const { exitCode, stdout, stderr } = await stopWhileRunning([]);
  assert.deepEqual([exitCode, stdout], [130, "handled 3\n"]);
  assert.match(stderr, /^error: Stopped by SIGINT$/m);
});

test("with --json a stopped run prints one object that includes its partial result", async () => {
  const stopped = await stopWhileRunning(["--json"]);
  assert.equal(stopped.exitCode, 130);
  assert.equal(failureOf(stopped).error.code, "INTERRUPTED");
  assert.deepEqual(JSON.parse(stopped.stdout).data, { handled: 3 });
});

test("a run that a signal normally ends reports no error", async () => {
  const { exitCode, stdout, stderr } = await stopWhileRunning(["--forever"]);
  assert.deepEqual([exitCode, stdout, stderr], [130, "handled 3\n", "running\n"]);
});

test("a script exits with 5 and names the holder if a lock is held longer than --timeout", async () => {
  await using waiting = await startWaiting(["--timeout", "100ms"]);
  const { exitCode, stdout, stderr } = await waiting.ended;
  assert.deepEqual([exitCode, stdout], [5, ""]);
  assert.ok(stderr.includes(`error: a test (pid ${process.pid}) is using this stack\n`), stderr);
});

test("an unexpected exception prints its stack and exits with 1", async () => {
  const { exitCode, stdout, stderr } = await startProgram(`${fixtures}/throws.ts`, []).ended;
  assert.deepEqual([exitCode, stdout], [1, ""]);
  assert.match(stderr, /TypeError: something unforeseen\n +at .*throws\.ts/);
});

test("with --json an unexpected exception is also reported on stdout", async () => {
  const failed = await startProgram(`${fixtures}/throws.ts`, ["--json"]).ended;
  assert.equal(failed.exitCode, 1);
  const { code, message } = failureOf(failed).error;
  assert.deepEqual([code, message], ["BUG", "something unforeseen"]);
  assert.match(failed.stderr, /TypeError: something unforeseen\n +at /);
});
