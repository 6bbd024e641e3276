import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { findStack } from "../../scripts/lib/stack/stack.ts";
import { diagnosePlace, finds, isHealthy } from "../support/doctor.ts";
import {
  bootstrapTestStack,
  makeTestStack,
  silentRun,
  type TestStack,
  testConfig,
  withCluster,
} from "../support/stack.ts";

/** A disk of this size would be reported as nearly full. */
const small = { limits: { minFreeBytes: 20e6, minFreeTempBytes: 20e6, minFreeFiles: 100 } };

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

test("a disk with less free space than a limit is found, for data, backups, state and temporary files", async () => {
  const data = await finds("disk-full", { evidence: /data: [\d.]+ [GTM]B free/, fix: /backup prune/ }, stack, {
    limits: { minFreeBytes: 1e18 },
  });
  assert.equal(data.symptom, "data-at-risk");
  const { findings } = await diagnosePlace(stack, { limits: { minFreeTempBytes: 1e18 } });
  assert.deepEqual(
    findings.map(({ cause }) => cause.replace(/ is full.*/, "")),
    ["The disk for backups", "The disk for state and secrets", "The disk for temporary files"],
  );
  assert.match(findings.at(-1)?.fix ?? "", /set TMPDIR/);
  await isHealthy(stack);
});

/** Mounts a small disk on the stack's folder; undefined if this user may not. */
function mountDisk(folder: string, context: TestContext, options = "size=300m"): Disposable | undefined {
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", options, "none", folder]);
  if (status !== 0) return void context.skip("mounting is not allowed here");
  return { [Symbol.dispose]: () => void spawnSync("umount", ["--lazy", folder]) };
}

test("a disk that fills up under a running server is found, and free space fixes it", async (context) => {
  await using mounted = await makeTestStack();
  using disk = mountDisk(mounted.stackDir, context);
  if (disk === undefined) return;
  await bootstrapTestStack(mounted.stackDir);
  await isHealthy(mounted, small);
  const filler = join(mounted.stackDir, "filler");
  spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=1M"]);
  await finds("disk-full", { evidence: /data: 0 B free/, fix: /Free some space/ }, mounted, small);
  await rm(filler);
  await isHealthy(mounted, small);

  spawnSync("mount", ["-o", "remount,nr_inodes=3000", "none", mounted.stackDir]);
  await mkdir(join(mounted.stackDir, "many"));
  const names = Array.from({ length: 3000 }, (_, index) => join(mounted.stackDir, "many", `${index}`));
  for (const name of names) if (!(await isWritten(name))) break;
  await finds("disk-full", { evidence: /room for 0 more files/, fix: /Free some space/ }, mounted, small);
  await rm(join(mounted.stackDir, "many"), { recursive: true });
  await isHealthy(mounted, small);

  await stopStack(await findStack(testConfig(mounted.stackDir)), silentRun);
  assert.equal(spawnSync("mount", ["-o", "remount,ro", "none", mounted.stackDir]).status, 0);
  await finds("file-system-read-only", { evidence: /EROFS/, fix: /remount,rw/ }, mounted, small);
  spawnSync("mount", ["-o", "remount,rw", "none", mounted.stackDir]);
  await bootstrapTestStack(mounted.stackDir);
  await isHealthy(mounted, small);
});

async function isWritten(name: string): Promise<boolean> {
  return await writeFile(name, "").then(
    () => true,
    () => false,
  );
}
