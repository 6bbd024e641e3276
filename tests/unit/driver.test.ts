import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { assetsDir } from "../../scripts/lib/paths.ts";
import { driverVersion } from "../../scripts/lib/postgres/driver.ts";

test("the installed postgres.js is the version that driver.ts was written for", async () => {
  const installed = JSON.parse(await readFile(join(assetsDir, "node_modules/postgres/package.json"), "utf8"));
  assert.deepEqual([installed.version, manifest.dependencies.postgres], [driverVersion, driverVersion]);
});
