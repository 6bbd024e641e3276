import assert from "node:assert/strict";
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { verifyArchive } from "../../scripts/lib/archive/verify.ts";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { readContent } from "../support/oracle.ts";
import { testRounds } from "../support/runtime.ts";
import { failure } from "../support/schema-folder.ts";

/** A soak of 20 rounds makes 500 flips and 100 truncations. */
const [flipsPerRound, truncationsPerRound] = [25, 5];
const damaged = ["ARCHIVE_CORRUPT", "ARCHIVE_INCOMPLETE"];

test("verify and restore find a flipped bit anywhere in an archive, before anything is changed", async () => {
  await using archives = await withArchives();
  const { archive, before } = await makeArchive(archives);
  for (let flip = 0; flip < testRounds(2) * flipsPerRound; flip++) {
    const { file, position, size } = await choosePlace(archive);
    const content = await readFile(file);
    content[position] = (content[position] ?? 0) ^ (1 << Math.floor(Math.random() * 8));
    await damage(archives, archive, file, `bit of byte ${position} of ${size}`, () => writeFile(file, content));
  }
  assert.deepEqual(await readContent(archives.database.admin), before);
});

test("verify and restore find a truncated or missing file, before anything is changed", async () => {
  await using archives = await withArchives();
  const { archive, before } = await makeArchive(archives);
  for (let cut = 0; cut < testRounds(2) * truncationsPerRound; cut++) {
    const { file, position } = await choosePlace(archive);
    await damage(archives, archive, file, `cut at ${position}`, () => truncate(file, position));
    await damage(archives, archive, file, "removed", () => rm(file));
  }
  assert.deepEqual(await readContent(archives.database.admin), before);
});

test("an archive without a manifest and one of a newer format are refused", async () => {
  await using archives = await withArchives();
  const { archive } = await makeArchive(archives);
  const file = join(archive, "manifest.json");
  const { manifest } = JSON.parse(await readFile(file, "utf8"));
  const { createHash } = await import("node:crypto");
  const newer = { ...manifest, format: 99, somethingNew: true };
  const sha256 = createHash("sha256").update(JSON.stringify(newer)).digest("hex");
  await writeFile(file, `${JSON.stringify({ manifest: newer, sha256 })}\n`);
  const error = await failure(archives.restore({ archive }));
  assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_NEWER", 8]);
  await rm(file);
  const incomplete = await failure(archives.restore({ archive }));
  assert.deepEqual([incomplete.code, incomplete.exitCode], ["ARCHIVE_INCOMPLETE", 11]);
  assert.match(incomplete.why ?? "", /manifest\.json, which is written last/);
});

async function makeArchive(archives: ArchiveTest) {
  const events = Array.from({ length: 100 }, (_, number) => ({
    ...placed,
    event_data: { number, text: "x".repeat(200) },
  }));
  await append(archives.database.sql, { events });
  const { archive } = await archives.backUp();
  return { archive, before: await readContent(archives.database.admin) };
}

/** Chooses any byte of the archive with equal probability, so that large files are hit more often. */
async function choosePlace(archive: string) {
  const files: { readonly file: string; readonly size: number }[] = [];
  for (const name of await readdir(archive, { recursive: true })) {
    const stats = await stat(join(archive, name));
    if (stats.isFile()) files.push({ file: join(archive, name), size: stats.size });
  }
  let place = Math.floor(Math.random() * files.reduce((sum, { size }) => sum + size, 0));
  for (const { file, size } of files) {
    if (place < size) return { file, position: place, size };
    place -= size;
  }
  return assert.fail("the archive has no bytes");
}

async function damage(
  archives: ArchiveTest,
  archive: string,
  file: string,
  how: string,
  work: () => Promise<void>,
): Promise<void> {
  const backup = `${archive}.whole`;
  await cp(file, backup);
  await work();
  const where = `${file}, ${how}`;
  for (const attempt of [() => verifyArchive(archive), () => archives.restore({ archive })]) {
    const error = await attempt().then(
      () => assert.fail(`not found: ${where}`),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof ScriptError && damaged.includes(error.code), `${where}: ${error}`);
  }
  await cp(backup, file);
  await rm(backup);
  await verifyArchive(archive);
}
