import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assertAppends } from "../support/bootstrap-assertions.ts";
import { assertSecretsLogIn, assertSettled, otherLogin, rotateTestStack } from "../support/logins.ts";
import { startProgram, startScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { bootstrapTestStack, type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

/** Every place at which a rotation may be cut off, in their order. */
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

for (const mend of ["rotation", "bootstrap"] as const) {
  for (const point of points) {
    test(`a rotation killed ${point} leaves credentials that are good, and the next ${mend} mends the rest`, async () => {
      const login = await assertSettled(stack);
      const { ended } = startProgram("tests/support/fixtures/rotate-until.ts", [point], {
        env: { CQRS_STACK_DIR: stack.stackDir },
      });
      const { exitCode, stderr } = await ended;
      assert.notEqual(exitCode, 0, `it was not killed\n${stderr}`);
      const isHandedOut = points.indexOf(point) >= points.indexOf("after write 1");
      assert.equal(await assertSecretsLogIn(stack), isHandedOut ? otherLogin(login) : login);
      if (mend === "bootstrap") await bootstrapTestStack(stack.stackDir);
      else await rotateTestStack(stack);
      const isBegunAnew = mend === "rotation" && point === "after retire";
      assert.equal((await assertSettled(stack)) === login, mend === "rotation" ? isBegunAnew : !isHandedOut);
      await assertAppends(await stack.application());
    });
  }
}

test("a rotation killed at any moment leaves credentials that are good", async () => {
  for (let round = 0; round < testRounds(3); round++) {
    const { child, ended } = startScript(["secrets", "rotate", "--yes"], stack);
    await Promise.race([sleep(Math.random() * 600), ended]);
    child.kill("SIGKILL");
    await ended;
    await assertSecretsLogIn(stack);
    await rotateTestStack(stack);
    await assertSettled(stack);
  }
});
