import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { runScript, startScript } from "../support/run-script.ts";
import { runtimeName } from "../support/runtime.ts";
import { failure } from "../support/schema-folder.ts";

test("backup list shows the position up to which an archive contains the log", async () => {
  await using archives = await withArchives();
  await append(archives.database.sql, { events: [placed, placed, placed] });
  const { id, lastPosition } = await archives.backUp();
  const { exitCode, stdout, stderr } = await run(archives, ["list"]);
  assert.deepEqual([exitCode, stderr], [0, ""]);
  assert.match(stdout, new RegExp(`^${id}  full  \\d+ rows, .*, up to position ${lastPosition}, `, "m"));
});

test("backup list shows which archives are verified, and prune says why it keeps an older one", async () => {
  await using archives = await withArchives();
  const verified = await archives.backUp();
  assert.equal((await run(archives, ["verify", verified.id])).exitCode, 0);
  const old = await archives.backUp();
  const base = await archives.backUp();
  const newest = await archives.backUp({ incremental: true });
  const [first, second] = (await run(archives, ["list"])).stdout.split("\n");
  assert.match(first ?? "", new RegExp(`^${verified.id} .*, verified \\d{4}-\\d{2}-\\d{2}$`));
  assert.match(second ?? "", new RegExp(`^${old.id} .*, not verified$`));
  const pruned = await run(archives, ["prune", "--keep", "1"]);
  assert.deepEqual([pruned.exitCode, pruned.stderr], [0, ""]);
  assert.deepEqual(pruned.stdout.trimEnd().split("\n"), [
    `deleted ${old.id}`,
    `kept ${newest.id}`,
    `kept ${verified.id}, the last verified`,
    `kept ${base.id}, which an incremental archive needs`,
  ]);
});

test("a damaged newest archive is listed, refused as the latest one, and never pruned", async () => {
  await using archives = await withArchives();
  const { folder } = archives;
  const older = await archives.backUp();
  const newest = await archives.backUp();
  await writeFile(join(newest.archive, "manifest.json"), "{}");
  const why = "manifest.json has changed since it was written.";

  const listed = await run(archives, ["list"]);
  assert.equal(listed.exitCode, 0);
  assert.match(listed.stdout, new RegExp(`^${older.id}  full  .*\n${newest.id}  damaged: ${why}\n$`));
  const { data } = JSON.parse((await run(archives, ["list", "--json"])).stdout);
  const entry = { id: newest.id, archive: newest.archive, code: "ARCHIVE_CORRUPT", isDamaged: true, why };
  assert.deepEqual(data.unreadable, [entry]);
  for (const words of [
    ["backup", "verify"],
    ["restore", "latest", "--yes"],
  ]) {
    const { exitCode, stdout, stderr } = await runWords(archives, [...words, "--from", folder]);
    assert.deepEqual([exitCode, stdout], [11, ""]);
    assert.match(
      stderr,
      new RegExp(`^error: The newest archive, ${newest.archive}, is damaged\n {2}why: ${why}$`, "m"),
    );
    assert.match(stderr, /^ {2}fix: .*pass the name of an older archive that bun run backup list shows\.$/m);
  }
  assert.equal((await run(archives, ["verify", older.id])).exitCode, 0);
  const pruned = await run(archives, ["prune", "--keep", "1"]);
  assert.deepEqual([pruned.exitCode, pruned.stdout], [0, `kept ${older.id}\nkept ${newest.id}, damaged: ${why}\n`]);
  assert.deepEqual((await readdir(folder)).toSorted(), [older.id, newest.id]);
});

test("latest ignores damage of older archives, incomplete runs and folders that are no archives", async () => {
  await using archives = await withArchives();
  const { folder } = archives;
  const older = await archives.backUp();
  const newest = await archives.backUp();
  await rm(join(older.archive, "manifest.json"));
  for (const name of ["lost+found", "site", "cqrs_db-29991231T000000000Z.partial"]) await mkdir(join(folder, name));
  await writeFile(join(folder, "site/manifest.json"), "{}");
  const { exitCode, stdout } = await run(archives, ["verify"]);
  assert.deepEqual([exitCode, stdout.split(" ")[0]], [0, newest.archive]);
  const listed = await run(archives, ["list"]);
  const missing = `${older.id}  damaged: It has no manifest.json, which is written last.`;
  assert.deepEqual(listed.stdout.trimEnd().split("\n").slice(1), [missing]);
});

test("an archive can be named by its manifest or another of its files", async () => {
  await using archives = await withArchives();
  const { archive } = await archives.backUp();
  const files = (await readdir(archive, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name));
  assert.ok(paths.includes(join(archive, "manifest.json")));
  for (const path of [join(archive, "manifest.json"), ...paths.slice(0, 2), paths.at(-1) ?? ""]) {
    const { exitCode, stdout, stderr } = await run(archives, ["verify", path]);
    assert.deepEqual([exitCode, stdout.split(" ")[0]], [0, archive], stderr);
  }
});

test("a row that COPY cannot send is reported with its table", async () => {
  await using archives = await withArchives();
  const { admin } = archives.database;
  await admin.unsafe(`
    create type command_model.mood as enum ('good');
    create table command_model."My moods" (mood command_model.mood);
    insert into command_model."My moods" values ('good');
    set allow_system_table_mods = on;
    delete from pg_enum where enumtypid = 'command_model.mood'::regtype;
    reset allow_system_table_mods`);
  const error = await failure(archives.backUp());
  assert.deepEqual([error.code, error.exitCode], ["TABLE_UNREADABLE", 9]);
  assert.match(error.message, /cannot send the rows of "command_model"\."My moods"$/);
  assert.match(`${error.why} ${error.fix}`, /invalid internal value for enum: .*COPY sends at most 1 GB/);
});

test("backup and reset say which session they wait for", async () => {
  await using archives = await withArchives();
  const { database, folder } = archives;
  await database.admin`create table command_model.locked (id int)`;
  for (const words of [
    ["backup", "--to", folder],
    ["reset", "--yes", "--no-backup"],
  ]) {
    const options = { stackDir: database.stackDir, env: { POSTGRES_DB: database.name } };
    const started = await database.admin.begin(async (tx) => {
      await tx`set local application_name = 'a migration'`;
      await tx`lock table command_model.locked, event_store.domain_event in access exclusive mode`;
      const script = startScript(words, options);
      await script.saw("(a migration, ");
      return script;
    });
    const { exitCode, stderr } = await started.ended;
    assert.equal(exitCode, 0, stderr);
    assert.match(stderr, /^waiting for session \d+ \(a migration, .*\), which holds a lock$/m);
  }
});

test("a newest archive of a newer format is reported as such", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  const newest = await archives.backUp();
  await rewriteManifest(newest.archive, { format: 99 });
  const { exitCode, stderr } = await run(archives, ["verify"]);
  assert.equal(exitCode, 8);
  assert.ok(stderr.includes(`error: The archive ${newest.archive} was written by a newer version\n`), stderr);
  assert.match((await run(archives, ["list"])).stdout, /unreadable: This version reads archives of format 2\.\n$/);
});

test("a folder of archives that does not exist or is empty is named, and so is the way to fill it", async () => {
  await using archives = await withArchives();
  const missing = join(archives.folder, "missing");
  for (const words of [
    ["backup", "list"],
    ["backup", "verify"],
    ["backup", "prune"],
    ["restore", "latest", "--yes"],
  ]) {
    const { exitCode, stdout, stderr } = await runWords(archives, [...words, "--from", missing]);
    const fix = `Pass another folder to --from, or run bun run backup --to ${missing}, which creates it.`;
    assert.deepEqual([exitCode, stdout], [2, ""], words.join(" "));
    assert.equal(stderr, `error: The folder ${missing} does not exist\n  fix: ${fix}\n`);
  }
  const empty = await run(archives, ["list"]);
  assert.deepEqual([empty.exitCode, empty.stdout], [0, "no archives\n"]);
  const verified = await run(archives, ["verify"]);
  assert.equal(verified.exitCode, 2);
  assert.ok(verified.stderr.includes(`fix: Run bun run backup --to ${archives.folder}.\n`), verified.stderr);
  const misspelt = await run(archives, ["verify", "nightly"]);
  assert.equal(misspelt.exitCode, 2);
  assert.ok(misspelt.stderr.includes(`fix: Run bun run backup list --from ${archives.folder} and`), misspelt.stderr);
});

const isFile = "It is a file, not a folder. (EEXIST, mkdir)";
/** Places where nothing can be written, and why not. Nothing can be created in /proc of Linux. */
const unusablePlaces: readonly (readonly [flag: string, path: string, named: RegExp, why: string])[] = [
  ["--to", "/etc/hosts", /^\/etc\/hosts$/, isFile],
  ["--output", "/etc/hosts/x.tar", /^\/etc\/hosts$/, isFile],
  ["--to", "/proc/x", /^\/proc\/x$/, "Nothing can be created at that path. (ENOENT, mkdir)"],
  ["--to", "/proc", /^\/proc\/.*\.partial$/, "Nothing can be created at that path. (ENOENT, mkdir)"],
  ["--output", "/proc/x.tar", /^\/proc\/x\.tar$/, "Nothing can be created at that path. (ENOENT, open)"],
];

const canUseProc = process.platform === "linux" && runtimeName === "bun";

for (const [flag, path, named, why] of unusablePlaces) {
  const skip = path.startsWith("/proc") && !canUseProc && "needs /proc of Linux, which Deno does not permit";
  test(`backup ${flag} ${path} is refused with the reason`, { skip }, async () => {
    await using archives = await withArchives();
    const { exitCode, stdout, stderr } = await runWords(archives, ["backup", flag, path]);
    assert.deepEqual([exitCode, stdout], [9, ""], stderr);
    assert.match(/^error: Cannot use (.*)$/m.exec(stderr)?.[1] ?? "", named);
    assert.ok(stderr.includes(`  why: ${why}\n  fix: `), stderr);
    assert.doesNotMatch(stderr, /^ +at /m);
  });
}

async function rewriteManifest(archive: string, changes: Readonly<Record<string, unknown>>): Promise<void> {
  const file = join(archive, "manifest.json");
  const manifest = { ...JSON.parse(await readFile(file, "utf8")).manifest, ...changes };
  const sha256 = createHash("sha256").update(JSON.stringify(manifest)).digest("hex");
  await writeFile(file, `${JSON.stringify({ manifest, sha256 })}\n`);
}

/** Runs a subcommand of backup on the folder of the test, unless another is named. */
function run(archives: ArchiveTest, words: readonly string[]) {
  const from = words.includes("--from") ? [] : ["--from", archives.folder];
  return runWords(archives, ["backup", ...words, ...from]);
}

function runWords({ database }: ArchiveTest, words: readonly string[]) {
  return runScript(words, { stackDir: database.stackDir, env: { POSTGRES_DB: database.name } });
}
