import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { packTar, unpackTar } from "modern-tar";
import { verifyBackup } from "../../scripts/lib/backup/verify.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { readContent } from "../support/oracle.ts";
import { runScript } from "../support/run-script.ts";
import { runtimeCommand, testRounds } from "../support/runtime.ts";
import { failure } from "../support/schema-folder.ts";
import { silentRun } from "../support/stack.ts";

const fill = (archives: ArchiveTest) =>
  append(archives.database.sql, { events: Array.from({ length: 300 }, () => placed) });

const verify = (archives: ArchiveTest, archive: string) =>
  verifyBackup(archives.stack, { archive, from: undefined, keyFile: undefined, depth: "deep" }, silentRun);

/** Temporary folders into which archives were unpacked. */
const leftOver = async () => (await readdir(tmpdir())).filter((name) => name.startsWith("cqrs-postgres-archive-"));

test("backup --output writes one tar file, and restore creates the same database from it", async () => {
  await using archives = await withArchives();
  const { database, folder } = archives;
  await fill(archives);
  const before = await readContent(database.admin);
  const output = join(folder, "nightly.tar");
  await writeFile(`${output}.cqrs_db-20260101T000000000Z.partial`, "left by a killed run");
  const { archive, rows } = await archives.backUp({ to: undefined, output });
  assert.equal(archive, output);
  assert.deepEqual(await readdir(folder), ["nightly.tar"]);
  assert.equal((await stat(output)).mode & 0o777, 0o600);
  assert.equal((await verify(archives, output)).rows, rows);
  await fill(archives);
  assert.equal((await archives.restore({ archive: output })).archive, output);
  assert.deepEqual(await readContent(database.admin), before);
  assert.deepEqual(await leftOver(), []);
});

test("a TMPDIR that cannot be used is named", async () => {
  await using archives = await withArchives();
  const output = join(archives.folder, "nightly.tar");
  await archives.backUp({ to: undefined, output });
  for (const [folder, code] of [
    [join(archives.folder, "missing"), "ENOENT"],
    [output, "ENOTDIR"],
  ] as const) {
    const { stackDir, name } = archives.database;
    const env = { TMPDIR: folder, POSTGRES_DB: name };
    const run = await runScript(["restore", output, "--yes"], { stackDir, env });
    assert.equal(run.exitCode, 9, run.stderr);
    assert.match(run.stderr, new RegExp(`^error: Cannot use ${folder}\\n.*\\(${code}\\)\\.\\n.*Set TMPDIR`, "m"));
  }
});

test("backup --output does not replace an existing file", async () => {
  await using archives = await withArchives();
  const output = join(archives.folder, "nightly.tar");
  await writeFile(output, "something else");
  const error = await failure(archives.backUp({ to: undefined, output }));
  assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_EXISTS", 2]);
  assert.equal(await readFile(output, "utf8"), "something else");
  assert.deepEqual(await readdir(archives.folder), ["nightly.tar"]);
});

test("backup --output does not replace a file that was created in the meantime", async () => {
  await using archives = await withArchives();
  await fill(archives);
  const output = join(archives.folder, "nightly.tar");
  const onProgress = () => writeFileSync(output, "something else");
  const error = await failure(archives.backUp({ to: undefined, output, onProgress }));
  assert.deepEqual([error.code, error.exitCode, error.message], ["ARCHIVE_EXISTS", 2, `${output} already exists`]);
  assert.equal(await readFile(output, "utf8"), "something else");
  assert.deepEqual(await readdir(archives.folder), ["nightly.tar"]);
});

test("a damaged or truncated tar file is refused, unless the damage is harmless", async () => {
  await using archives = await withArchives();
  await fill(archives);
  const output = join(archives.folder, "whole.tar");
  await archives.backUp({ to: undefined, output });
  const whole = await readFile(output);
  const { id, rows } = await verify(archives, output);
  const damaged = join(archives.folder, "damaged.tar");
  for (let round = 0; round < testRounds(20); round++) {
    const content = Buffer.from(whole);
    const at = randomInt(content.length);
    content[at] = (content[at] ?? 0) ^ (1 << randomInt(8));
    await writeFile(damaged, content);
    // Bits between files and in the dates of their headers are not used.
    const found = await verify(archives, damaged).catch((error) => error);
    if (found instanceof Error) assert.equal((found as { exitCode?: number }).exitCode, 11, `bit at ${at}: ${found}`);
    else assert.deepEqual(found, { archive: damaged, id, rows, depth: "deep" }, `bit at ${at}`);
  }
  for (let round = 0; round < testRounds(10); round++) {
    // The last kilobyte marks the end.
    const length = randomInt(whole.length - 1024);
    await writeFile(damaged, whole.subarray(0, length));
    assert.equal((await failure(verify(archives, damaged))).exitCode, 11, `${length} bytes`);
  }
  assert.deepEqual(await leftOver(), []);
});

test("a damaged tar is called what the user passed, and not the folder that it was unpacked into", async () => {
  await using archives = await withArchives();
  await fill(archives);
  const whole = join(archives.folder, "whole.tar");
  await archives.backUp({ to: undefined, output: whole });
  const entries = await unpackTar(await readFile(whole));
  const damages: readonly (readonly [content: Uint8Array, why: RegExp])[] = [
    [Buffer.from("something else ".repeat(100)), /It is not a tar file, or has changed/],
    [await packTar(entries.filter(({ header }) => !header.name.startsWith("data/"))), /data\/\S+ is missing/],
    [await packTar(entries.filter(({ header }) => header.name !== "manifest.json")), /It has no manifest\.json/],
  ];
  const path = join(archives.folder, "damaged.tar");
  for (const [content, why] of damages) {
    await writeFile(path, content);
    for (const [line, name] of [
      [`"$@" backup verify ${path}`, path],
      [`"$@" restore --yes ${path}`, path],
      [`cat ${path} | "$@" backup verify -`, "from stdin"],
    ]) {
      const { stdout, stderr } = runShell(archives, `${line} || echo $?`);
      assert.equal(stdout, "11\n", stderr);
      assert.match(stderr, new RegExp(`^error: The archive ${name} is (damaged|incomplete)$`, "m"));
      assert.match(stderr, why);
      assert.ok(!stderr.includes("cqrs-postgres-archive-"), stderr);
    }
  }
  assert.deepEqual(await leftOver(), []);
});

const strangers = {
  "a path outside the archive": { name: "../outside", size: 1 },
  "a path that leads out of the archive midway": { name: "data/../../outside", size: 1 },
  "an absolute path": { name: "/tmp/outside", size: 1 },
  "a link": { name: "data/0001-000001.zst", size: 0, type: "symlink", linkname: "/etc/passwd" },
  "a file that archives do not have": { name: "run.sh", size: 1 },
} as const;
for (const [what, header] of Object.entries(strangers)) {
  test(`a tar file with ${what} is refused, and no file of it remains`, async () => {
    await using archives = await withArchives();
    const path = join(archives.folder, "strange.tar");
    await writeFile(path, await packTar([{ header, ...(header.size === 0 ? {} : { body: "x" }) }]));
    const error = await failure(archives.restore({ archive: path }));
    assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_CORRUPT", 11]);
    assert.match(error.why ?? "", /is not a file of an archive/);
    assert.deepEqual(await leftOver(), []);
    assert.deepEqual(await readdir(archives.folder), ["strange.tar"]);
  });
}

test("a tar file that contains a file twice is refused", async () => {
  await using archives = await withArchives();
  const output = join(archives.folder, "whole.tar");
  await archives.backUp({ to: undefined, output });
  const entries = await unpackTar(await readFile(output));
  const twice = join(archives.folder, "twice.tar");
  await writeFile(twice, await packTar([...entries, ...entries.slice(0, 1)]));
  assert.equal((await failure(verify(archives, twice))).code, "ARCHIVE_CORRUPT");
});

test("backup --output - writes only the archive to stdout, and restore - reads it from stdin", async () => {
  await using archives = await withArchives();
  const { database, folder } = archives;
  await fill(archives);
  const path = join(folder, "piped.tar");
  assert.match(runShell(archives, `"$@" backup --output - > ${path}`).stderr, /^stdout {2}\d+ rows of /m);
  const into = `${database.name}_copy`;
  try {
    const { stdout } = runShell(archives, `cat ${path} | "$@" restore - --into ${into} --json`);
    assert.equal(JSON.parse(stdout).data.archive, "-");
    await using copy = openConnection({ ...database.administrator, database: into });
    assert.deepEqual(await readContent(copy.sql), await readContent(database.admin));
    const refused = runShell(archives, `cat ${path} | "$@" restore - || echo $?`);
    assert.match(refused.stdout, /^8\n$/);
    assert.match(refused.stderr, /why: There is no terminal to ask on, or --json is set\. The plan:\n +replaces: /);
    assert.match(
      refused.stderr,
      /with: the archive from stdin of \d{4}-.* \(\d+ rows\)\n {2}fix: Run bun run restore - --yes/,
    );
    assert.match(
      runShell(archives, `cat ${path} | "$@" backup verify -`).stdout,
      /^the archive from stdin is intact: /,
    );
  } finally {
    await database.admin.unsafe(`drop database if exists ${into} with (force)`);
  }
});

test("backup --output - fails if its reader exits early", async () => {
  await using archives = await withArchives();
  await fill(archives);
  const { stdout, stderr } = runShell(archives, `("$@" backup --output -; echo $? >&2) | head -c 100 | wc -c`);
  assert.equal(stdout.trim(), "100");
  assert.match(stderr, /Cannot use stdout\n(.|\n)*\n9\n$/);
});

/** Runs a shell command, in which `"$@"` stands for the command line of the scripts. */
function runShell({ database }: ArchiveTest, line: string) {
  const { PATH = "", HOME = "", DENO_DIR = "" } = process.env;
  const env = { PATH, HOME, CQRS_STACK_DIR: database.stackDir, POSTGRES_DB: database.name };
  const words = ["-c", line, "sh", ...runtimeCommand("scripts/main.ts")];
  const run = spawnSync("sh", words, { env: DENO_DIR === "" ? env : { ...env, DENO_DIR }, encoding: "utf8" });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  return run;
}
