// The package in compose mode: two projects of one machine, each with its own containers.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { appendFile, cp, readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { mustRun, run } from "../support/compose.ts";
import { canRunNode, locateNode } from "../support/node.ts";
import {
  type Application,
  createApplication,
  type ProgramRun,
  packageSkip,
  runProgram,
  sharedPackage,
} from "../support/package.ts";
import { unusedPort } from "../support/port.ts";

const skip = packageSkip;
const packages = Object.keys(manifest.dependencies);
const node = canRunNode ? locateNode() : process.execPath;
/** Appends an event with the credentials of the stack. */
const program = `
import { appendEvents } from "cqrs-postgres";
import { connect } from "cqrs-postgres/stack";
const store = await connect();
await appendEvents(store, { type: "Order", id: "order-1" }, [{ type: "OrderPlaced", data: {} }], { expectedVersion: "any" });
await store[Symbol.asyncDispose]();
`;

/** A project that has the package in node_modules, and its settings in `.env`. */
interface Project extends Application {
  readonly port: number;
  command(...words: string[]): Promise<ProgramRun>;
  /** The `data` of a command that must succeed. */
  data(
    ...words: string[]
  ): Promise<Record<string, unknown> & { readonly plan: { readonly events: number; readonly dataDirectory: string } }>;
}

let shared: Awaited<ReturnType<typeof sharedPackage>>;
before(async () => {
  if (!skip) shared = await sharedPackage();
});
after(async () => {
  await shared?.[Symbol.asyncDispose]();
});

async function createProject(runtime: string, change: Readonly<Record<string, string>> = {}): Promise<Project> {
  const [port, vaultPort] = [await unusedPort(), await unusedPort()];
  const { POSTGRES_IMAGE = "", VAULT_IMAGE = "", BUN_IMAGE = "" } = process.env;
  const settings = { POSTGRES_PORT: port, VAULT_PORT: vaultPort, POSTGRES_IMAGE, VAULT_IMAGE, BUN_IMAGE, ...change };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  const application = await createApplication(shared.tarball, packages, {
    ".env": lines.join(""),
    "append.mjs": program,
  });
  const { dir, packageDir } = application;
  const bin = join(packageDir, manifest.bin["cqrs-postgres"]);
  const command = (...words: string[]) => runProgram([runtime, bin, ...words], dir, dockerVariables());
  return {
    ...application,
    port,
    command,
    async data(...words) {
      const { exitCode, stdout, stderr } = await command(...words, "--json");
      assert.equal(exitCode, 0, `${words.join(" ")}\n${stdout}${stderr}`);
      return JSON.parse(stdout).data;
    },
    async [Symbol.asyncDispose]() {
      for (const name of await composeNames(application)) await removeContainers(name);
      await application[Symbol.asyncDispose]();
    },
  };
}

function dockerVariables(): Record<string, string> {
  const names = ["DOCKER_HOST", "DOCKER_CONFIG"];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

async function docker(...words: string[]): Promise<string[]> {
  return mustRun(words.join(" "), await run("docker", words))
    .trim()
    .split("\n");
}

/** @returns the compose projects of which this folder has containers, or had before `destroy` */
async function composeNames({ dir }: Application): Promise<string[]> {
  const suffix = dir.split("-").at(-1)?.toLowerCase() ?? "";
  const names = (await docker("volume", "ls", "--format", '{{.Label "com.docker.compose.project"}}')).filter((name) =>
    name.includes(suffix),
  );
  return [...new Set(names)];
}

async function removeContainers(name: string): Promise<void> {
  await run("docker", ["compose", "-p", name, "down", "--volumes", "--timeout", "5"]);
  const volumes = ["keys", "credentials", "vault-data", "postgres-data"].map((one) => `${name}-${one}`);
  await run("docker", ["volume", "rm", "--force", ...volumes]);
  await run("docker", ["image", "rm", "--force", `${name}-init`]);
}

async function countEvents(project: Project): Promise<number> {
  const { exitCode, stdout } = await project.command("destroy", "--json");
  assert.equal(exitCode, 8, "refused without --yes");
  return JSON.parse(stdout).data.plan.events;
}

test("two projects have containers, data and archives of their own", { skip }, async () => {
  await using one = await createProject(node);
  await using other = await createProject(process.execPath);
  const ready = await Promise.all([
    one.data("bootstrap", "--mode", "compose"),
    other.data("bootstrap", "--mode=compose"),
  ]);
  assert.deepEqual(
    ready.map(({ mode, port }) => [mode, port]),
    [one, other].map(({ port }) => ["compose", port]),
  );
  assert.equal((await one.data("bootstrap"))["isChanged"], false);
  assert.equal(await readFile(join(one.dir, ".cqrs/.gitignore"), "utf8"), "*\n");
  assert.equal((await one.command("seed")).exitCode, 0);
  const appended = await runProgram([process.execPath, "append.mjs"], other.dir, dockerVariables());
  assert.equal(appended.exitCode, 0, appended.stderr);
  const events = await countEvents(one);
  assert.ok(events > 1 && (await countEvents(other)) === 1);

  await one.data("backup");
  const archives = async ({ dir }: { readonly dir: string }) =>
    (await readdir(join(dir, ".cqrs/postgres/backups"))).filter((name) => name !== ".stack-id");
  assert.equal((await archives(one)).length, 1);
  assert.deepEqual(await archives(other), []);
  await one.data("restore", "latest", "--yes", "--drop-old");
  await one.data("wait-for", "schema");
  await one.data("secrets", "rotate");
  assert.match((await one.command("secrets", "show")).stdout, /^username=cqrs_user_b$/m);

  await one.data("stop");
  assert.equal((await one.command("status")).exitCode, 3);
  assert.equal((await other.data("status"))["isRunning"], true);
  await one.data("bootstrap");
  assert.equal(await countEvents(one), events);
  const destroyed = await one.data("destroy", "--yes");
  assert.equal(destroyed.plan.events, events);
  assert.ok(existsSync(join(one.dir, ".cqrs/postgres/backups")));
  assert.equal(await countEvents(other), 1);
});

test("a copied project is refused, and can have a database of its own; a moved one goes on", { skip }, async () => {
  await using original = await createProject(process.execPath);
  await using copy = await createProject(process.execPath);
  await original.data("bootstrap", "--mode", "compose");
  const [name = ""] = await composeNames(original);
  assert.match(name, /^cqrs-application-\w{6}-[0-9a-f]{6}$/);
  await cp(join(original.dir, ".cqrs"), join(copy.dir, ".cqrs"), { recursive: true });
  const assertRefused = async (...words: string[]) => {
    const { exitCode, stderr } = await copy.command(...words);
    assert.match(stderr, new RegExp(`The compose project ${name} belongs to another folder[^]*${original.dir}/.cqrs`));
    assert.equal(exitCode, 8);
  };
  for (const words of [["status"], ["stop"], ["destroy", "--yes"], ["bootstrap"]]) await assertRefused(...words);
  await rename(original.dir, `${original.dir}-moved`);
  const moved = [process.execPath, "node_modules/cqrs-postgres/dist/bin.js", "status"];
  assert.equal((await runProgram(moved, `${original.dir}-moved`, dockerVariables())).exitCode, 0);
  await rename(`${original.dir}-moved`, original.dir);
  // Removes the containers, as `docker system prune` does with stopped ones; the volumes are still those of the original.
  await docker("compose", "-p", name, "down");
  await assertRefused("bootstrap");
  await appendFile(join(copy.dir, ".env"), `COMPOSE_PROJECT_NAME=${name}-copy\n`);
  assert.equal((await copy.data("bootstrap", "--mode", "compose"))["port"], copy.port);
  assert.match((await copy.data("destroy", "--yes")).plan.dataDirectory, new RegExp(`${name}-copy-postgres-data`));
});
