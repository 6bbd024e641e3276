import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assertAppends } from "../support/bootstrap-assertions.ts";
import { assertRotationComplete, assertSecretsLogIn, otherLogin, rotateTestStack } from "../support/logins.ts";
import { startProgram, startScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { bootstrapTestStack, type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

/** Every point at which a rotation can be interrupted, in order. */
const points = [
  "before login",
  "after login",
  "before write 1",
  "after write 1",
  "before write 2",
  "after write 2",
  "before retire",
  "after retire",
] as const;

for (const next of ["rotation", "bootstrap"] as const) {
  for (const point of points) {
    test(`a rotation killed ${point} leaves valid credentials, and the next ${next} completes it`, async () => {
      const login = await assertRotationComplete(stack);
      const { ended } = startProgram("tests/support/fixtures/rotate-until.ts", [point], {
        env: { CQRS_STACK_DIR: stack.stackDir },
      });
      const { exitCode, stderr } = await ended;
      assert.notEqual(exitCode, 0, `it was not killed\n${stderr}`);
      const isPublished = points.indexOf(point) >= points.indexOf("after write 1");
      assert.equal(await assertSecretsLogIn(stack), isPublished ? otherLogin(login) : login);
      if (next === "bootstrap") await bootstrapTestStack(stack.stackDir);
      else await rotateTestStack(stack);
      // After the last point the rotation is complete, so the next one switches back.
      const isBack = next === "rotation" ? point === "after retire" : !isPublished;
      assert.equal((await assertRotationComplete(stack)) === login, isBack);
      await assertAppends(await stack.application());
    });
  }
}

test("a rotation killed at a random moment leaves valid credentials", async () => {
  for (let round = 0; round < testRounds(3); round++) {
    const { child, ended } = startScript(["secrets", "rotate", "--yes"], stack);
    await Promise.race([sleep(Math.random() * 600), ended]);
    child.kill("SIGKILL");
    await ended;
    await assertSecretsLogIn(stack);
    await rotateTestStack(stack);
    await assertRotationComplete(stack);
  }
});
