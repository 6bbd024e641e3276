import assert from "node:assert/strict";
import { test } from "node:test";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { runScript } from "../support/run-script.ts";

test("backup list shows the position up to which an archive contains the log", async () => {
  await using archives = await withArchives();
  await append(archives.database.sql, { events: [placed, placed, placed] });
  const { id, lastPosition } = await archives.backUp();
  const { exitCode, stdout, stderr } = await run(archives, ["list"]);
  assert.deepEqual([exitCode, stderr], [0, ""]);
  assert.match(stdout, new RegExp(`^${id}  full  \\d+ rows, .*, up to position ${lastPosition}$`, "m"));
});

/** Runs a subcommand of backup on the folder of the test, unless another is named. */
function run({ database, folder }: ArchiveTest, words: readonly string[]) {
  const from = words.includes("--from") ? [] : ["--from", folder];
  const options = { stackDir: database.stackDir, env: { POSTGRES_DB: database.name } };
  return runScript(["backup", ...words, ...from], options);
}
