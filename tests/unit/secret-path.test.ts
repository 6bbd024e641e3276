import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { splitSecretPath } from "../../scripts/lib/secrets/store.ts";
import { badSecretPaths } from "../support/secret-store-contract.ts";

test("splitSecretPath() splits at the slashes", () => {
  assert.deepEqual(splitSecretPath("secret/cqrs-spike/database"), ["secret", "cqrs-spike", "database"]);
  assert.deepEqual(splitSecretPath("embedded/superuser"), ["embedded", "superuser"]);
  assert.deepEqual(splitSecretPath("a/..b/c..d/.e/_-"), ["a", "..b", "c..d", ".e", "_-"]);
});

for (const path of badSecretPaths) {
  test(`splitSecretPath() refuses ${JSON.stringify(path)}`, () => {
    assert.throws(
      () => splitSecretPath(path),
      (error) => {
        assert.ok(error instanceof ScriptError);
        assert.deepEqual([error.code, error.exitCode], ["SECRET_PATH", 2]);
        assert.ok(error.message.startsWith(JSON.stringify(path)));
        return true;
      },
    );
  });
}
