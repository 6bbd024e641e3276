// Runs the package, unpacked into an application, on each runtime that it supports and on one that it does not.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { withDatabase } from "../support/database.ts";
import { locateDeno } from "../support/deno.ts";
import { canRunNode, locateNode } from "../support/node.ts";
import {
  type Application,
  createApplication,
  packageSkip,
  runProgram as run,
  sharedPackage,
} from "../support/package.ts";
import { sharedStack } from "../support/stack.ts";

const skip = packageSkip || (canRunNode ? false : "Node.js is installed from packages for Linux on x64");
const runtimes = skip
  ? {}
  : {
      "Node.js 22.15": [locateNode("oldest-node")],
      "Node.js 24": [locateNode("node-24")],
      Bun: [process.execPath],
      Deno: [locateDeno(), "run", "-A"],
    };

/** Appends and reads one event. */
const useStore = `
const order = { type: "Order", id: crypto.randomUUID() };
await appendEvents(store, order, [{ type: "OrderPlaced", data: { total: 42 } }], { expectedVersion: "no-stream" });
for await (const event of readStream(store, order)) console.log(event.aggregateVersion, event.type);
await store[Symbol.asyncDispose]();
`;
const programs = {
  "alone.mjs": `
import process from "node:process";
import { appendEvents, openEventStore, readStream } from "cqrs-postgres";
const store = openEventStore(JSON.parse(process.env.TARGET));
${useStore}`,
  "connects.mjs": `
import { appendEvents, readStream } from "cqrs-postgres";
import { connect } from "cqrs-postgres/stack";
const store = await connect();
${useStore}`,
};

let shared: Awaited<ReturnType<typeof sharedPackage>>;
/** Has the packages of the event store, and nothing else. */
let small: Application;
let whole: Application;
before(async () => {
  if (skip) return;
  shared = await sharedPackage();
  small = await createApplication(shared.tarball, ["postgres", "uuidv7"], programs);
  whole = await createApplication(shared.tarball, Object.keys(manifest.dependencies), programs);
});
after(async () => {
  await small?.[Symbol.asyncDispose]();
  await whole?.[Symbol.asyncDispose]();
  await shared?.[Symbol.asyncDispose]();
});

test("an application needs postgres and uuidv7 to append and to read", { skip }, async () => {
  await using database = await withDatabase();
  const env = { TARGET: JSON.stringify(database.application) };
  for (const [name, runtime] of Object.entries(runtimes)) {
    const result = await run([...runtime, join(small.dir, "alone.mjs")], small.dir, env);
    assert.deepEqual(result, { exitCode: 0, stdout: "1 OrderPlaced\n", stderr: "" }, name);
  }
});

test("an application connects with the stack's credentials, without a warning", { skip }, async () => {
  await using stack = await sharedStack();
  for (const [name, runtime] of Object.entries(runtimes)) {
    const result = await run([...runtime, join(whole.dir, "connects.mjs")], whole.dir, {
      CQRS_STACK_DIR: stack.stackDir,
    });
    assert.deepEqual(result, { exitCode: 0, stdout: "1 OrderPlaced\n", stderr: "" }, name);
  }
});

test("the command tells its version and the status, without a warning", { skip }, async () => {
  await using stack = await sharedStack();
  for (const [name, runtime] of Object.entries(runtimes)) {
    const command = (...words: string[]) =>
      run([...runtime, bin(whole), ...words], whole.dir, { CQRS_STACK_DIR: stack.stackDir });
    const version = { exitCode: 0, stdout: `cqrs-postgres ${manifest.version}\n`, stderr: "" };
    assert.deepEqual(await command("--version"), version, name);
    const status = await command("status", "--json");
    assert.deepEqual([status.exitCode, status.stderr], [0, ""], name);
    // This takes the lock of the stack, which is SQLite's.
    const applied = await command("schema", "apply", "--quiet");
    assert.deepEqual([applied.exitCode, applied.stderr], [0, ""], name);
  }
});

test("an unsupported version of Node.js gets one sentence and exit code 9", { skip }, async () => {
  const result = await run([locateNode("unsupported-node"), bin(whole), "status"], whole.dir);
  const sentence = "cqrs-postgres needs Bun, Deno, or Node.js 22.15 or newer; this is Node.js 16.20.2.\n";
  assert.deepEqual(result, { exitCode: 9, stdout: "", stderr: sentence });
});

for (const [version, exitCode] of [
  ["22.14.0", 9],
  ["22.15.0", 0],
  ["23.7.0", 9],
  ["23.8.0", 0],
  ["100.0.0", 0],
] as const) {
  test(`on Node.js ${version}, the command exits with ${exitCode}`, { skip }, async () => {
    const pretend = `data:text/javascript,Object.defineProperty(process.versions, "node", { value: "${version}" })`;
    const result = await run([locateNode(), "--import", pretend, bin(whole), "--version"], whole.dir);
    assert.equal(result.exitCode, exitCode);
  });
}

function bin(application: Application): string {
  return join(application.packageDir, manifest.bin["cqrs-postgres"]);
}
