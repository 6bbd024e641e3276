import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { testRounds } from "../support/runtime.ts";
import { countRootTokens, localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";

test("after secrets init was killed at a random moment, the next run completes it and leaves no root token", {
  skip: localVaultSkip,
}, async () => {
  for (let round = 0; round < testRounds(2); round++) {
    await using stack = await makeVaultStack();
    const started = stack.start("secrets", "init", "--secrets", "vault");
    await Promise.race([sleep(200 + Math.random() * 1500), started.ended]);
    started.kill("SIGKILL");
    await started.ended;
    await stack.data("secrets", "init", "--secrets", "vault");
    assert.match((await stack.password()) ?? "", /^[A-Za-z0-9]{32}$/);
    assert.equal(await countRootTokens(stack), 0);
    assert.deepEqual((await stack.data<{ details: string[] }>("secrets", "init")).details, []);
  }
});
