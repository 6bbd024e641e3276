import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { runtimeName } from "../support/runtime.ts";
import { makeTestStack } from "../support/stack.ts";

const isRootOnLinux = process.platform === "linux" && process.getuid?.() === 0;
const skipMount = isRootOnLinux ? false : "only root can mount a small disk";

/** An obstacle, and what the error says. */
const obstacles: readonly (readonly [string, (stackDir: string) => Promise<unknown>, RegExp])[] = [
  [
    "a file in place of the stack directory",
    (dir) => rm(dir, { recursive: true }).then(() => writeFile(dir, "")),
    /is a file, not a folder|Cannot use/,
  ],
  ["a foreign file in place of the lock", (dir) => writeFile(join(dir, "stack.lock"), "x".repeat(5000)), /stack\.lock/],
  ["a file in place of the folder postgres", (dir) => writeFile(join(dir, "postgres"), ""), /postgres/],
  ["a folder in place of the state", (dir) => mkdir(join(dir, "state.json")), /state\.json/],
  ["a file in place of the secret store", (dir) => writeFile(join(dir, "secrets"), ""), /secrets/],
];

for (const [what, place, says] of obstacles) {
  test(`${what} is named, without a stack`, async () => {
    await using stack = await makeTestStack();
    await place(stack.stackDir);
    const run = await runScript(["bootstrap"], stack);
    await rm(stack.stackDir, { recursive: true });
    assert.ok(run.exitCode === 9 || run.exitCode === 2, `${run.exitCode}: ${run.stderr}`);
    assert.match(run.stderr, says);
    assert.match(run.stderr, /^ {2}fix: /m);
    assert.doesNotMatch(run.stderr, /^ +at /m);
  });
}

test("a folder that cannot be created is named", async () => {
  await using stack = await makeTestStack();
  const file = join(stack.stackDir, "file");
  await writeFile(file, "");
  const run = await runScript(["bootstrap"], { stackDir: join(file, "here") });
  assert.equal(run.exitCode, 9, run.stderr);
  assert.ok(run.stderr.includes(`Cannot use ${file}/here`), run.stderr);
});

test("a permission that Deno lacks is named", { skip: runtimeName === "bun" && "Bun asks for none" }, () => {
  const words = ["run", "-q", "--allow-read", "--allow-env", join(assetsDir, "scripts/bootstrap.ts")];
  const run = spawnSync(process.execPath, words, { encoding: "utf8" });
  assert.equal(run.status, 9, run.stderr);
  assert.match(run.stderr, /Deno does not permit what this script needs\n {2}why: Requires /);
});

test("a full disk is reported, and a stack on it can be stopped, started again and destroyed", {
  skip: skipMount,
}, async (context) => {
  await using stack = await makeTestStack();
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=150m", "tmpfs", stack.stackDir]);
  if (mounted.status !== 0) return context.skip("mounting is not allowed here");
  try {
    await runForData(["bootstrap"], stack);
    const filler = join(stack.stackDir, "filler");
    spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=1M"]);
    assert.equal((await runScript(["stop"], stack)).exitCode, 0);
    const full = await runScript(["bootstrap"], stack);
    assert.ok([0, 3, 9].includes(full.exitCode ?? 1), full.stderr);
    assert.doesNotMatch(full.stderr, /^ +at /m);
    await rm(filler);
    await runForData(["bootstrap"], stack);
    spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=1M"]);
    const destroyed = await runScript(["destroy", "--yes"], stack);
    assert.equal(destroyed.exitCode, 0, destroyed.stderr);
  } finally {
    await runScript(["stop"], stack);
    spawnSync("umount", ["--lazy", stack.stackDir]);
  }
});
