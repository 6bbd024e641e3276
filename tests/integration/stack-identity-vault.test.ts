import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { localVaultAddress } from "../../scripts/lib/stack/local-vault.ts";
import { localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";

test("a copied stack gets a Vault of its own, and never uses that of the original", {
  skip: localVaultSkip,
}, async () => {
  await using original = await makeVaultStack();
  await using copy = await makeVaultStack();
  await original.data("bootstrap", "--secrets", "vault");
  const password = await original.password();
  await original.data("stop");
  for (const name of ["postgres", "vault", "secrets", "state.json"]) {
    const { status } = spawnSync("cp", ["-a", join(original.stackDir, name), copy.stackDir]);
    assert.equal(status, 0);
  }
  await original.data("bootstrap");
  assert.equal(localVaultAddress(copy.stackDir), undefined, "the address is that of the original");
  for (const words of [["secrets", "status"], ["secrets", "rotate"], ["bootstrap"]]) {
    assert.equal((await copy.run(...words)).exitCode, 8, words.join(" "));
  }
  const adopted = await copy.data<BootstrapResult>("bootstrap", "--adopt");
  assert.notEqual(localVaultAddress(copy.stackDir), localVaultAddress(original.stackDir));
  assert.equal(await copy.password(), password);
  await copy.data("secrets", "rotate");
  assert.equal(await original.password(), password);
  assert.notEqual(adopted.port, (await original.data<BootstrapResult>("bootstrap")).port);
});
