import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { link, mkdir, rm, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import { runForData, runScript, startProgram } from "../support/run-script.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";

/** How the files of a cluster get a name in a second folder. */
const ways: readonly (readonly [string, (stack: TestStack, folder: string) => Promise<string> | string])[] = [
  [
    "cp -al",
    ({ stackDir }, folder) => {
      const to = join(folder, "linked");
      run(["cp", "-al", stackDir, to]);
      return to;
    },
  ],
  ["bun add <folder>", addWithBun],
];

for (const [how, share] of ways) {
  test(`a folder that ${how} has linked is refused, also with --adopt, and the original goes on`, async (context) => {
    await using stack = await makeTestStack();
    await using other = await makeTestStack();
    if (how.startsWith("bun") && !hasBun()) return context.skip("bun is not on the PATH");
    await runForData(["bootstrap"], stack);
    await runForData(["stop"], stack);
    const linked = { stackDir: await share(stack, other.stackDir) };
    for (const words of [["bootstrap"], ["bootstrap", "--adopt", "--yes"], ["status"], ["backup"], ["seed"]]) {
      const { exitCode, stderr } = await runScript(words, linked);
      assert.equal(exitCode, 9, stderr);
      assert.match(stderr, /also belong to another folder.*hard links.*fix: Use the stack in /s);
    }
    assert.match((await connects(linked.stackDir)).stderr, /also belong to another folder/);

    assert.match((await runScript(["bootstrap"], stack)).stderr, /warning: another folder has hard links/);
    const { stackProblems } = await runForData<StackStatus>(["status"], stack);
    assert.deepEqual(stackProblems.length, 1);
    await runForData(["destroy", "--yes"], linked);
    assert.deepEqual((await runForData<StackStatus>(["status"], stack)).stackProblems, []);
    assert.equal((await connects(stack.stackDir)).stdout, "cqrs_user\n");
  });
}

test("one shared file is enough, also if the stack remembers no cluster", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await runForData(["stop"], stack);
  await rm(join(stack.stackDir, "state.json"));
  for (const name of ["PG_VERSION", "global/pg_control"]) {
    const second = join(stack.stackDir, "second");
    await link(join(stack.dataDir, name), second);
    assert.equal((await runScript(["bootstrap"], stack)).exitCode, 9, name);
    await unlink(second);
  }
  await runForData(["bootstrap"], stack);
});

/** Installs the folder of the stack as a package; Bun links its files. */
async function addWithBun({ stackDir }: TestStack, folder: string): Promise<string> {
  await writeFile(join(stackDir, "package.json"), '{ "name": "with-data", "version": "1.0.0" }');
  const application = join(folder, "application");
  await mkdir(application);
  await writeFile(join(application, "package.json"), '{ "name": "application" }');
  run(["bun", "add", "--backend=hardlink", stackDir], application);
  return join(application, "node_modules/with-data");
}

function hasBun(): boolean {
  return spawnSync("bun", ["--version"]).status === 0;
}

function run([program = "", ...args]: readonly string[], cwd?: string): void {
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8", cwd });
  assert.equal(status, 0, stderr);
}

/** Runs an application in the folder of a stack. */
function connects(stackDir: string) {
  return startProgram("tests/support/fixtures/connects.ts", [], { env: { CQRS_STACK_DIR: stackDir } }).ended;
}
