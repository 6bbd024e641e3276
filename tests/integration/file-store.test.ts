import assert from "node:assert/strict";
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import { testSecretStore } from "../support/secret-store-contract.ts";

interface OpenedFileStore extends AsyncDisposable {
  readonly store: FileSecretStore;
  readonly root: string;
}

async function openFileStore(): Promise<OpenedFileStore> {
  const parent = await mkdtemp(join(tmpdir(), "cqrs-secrets-"));
  const root = join(parent, "not/yet/secrets");
  return {
    store: new FileSecretStore(root),
    root,
    [Symbol.asyncDispose]: () => rm(parent, { recursive: true, force: true }),
  };
}

/** A store with one secret: `secret/a`, version 1. */
async function openFilledStore(): Promise<OpenedFileStore & { readonly folder: string; readonly file: string }> {
  const opened = await openFileStore();
  await opened.store.write("secret/a", { password: "hidden" }, { cas: 0 });
  const folder = join(opened.root, "secret/a");
  return { ...opened, folder, file: join(folder, "1.json") };
}

function assertRefused(work: Promise<unknown>, path: string, why: RegExp, fix?: string): Promise<void> {
  return assert.rejects(work, (error) => {
    assert.ok(error instanceof ScriptError, String(error));
    assert.deepEqual([error.code, error.exitCode], ["SECRETS_UNUSABLE", 2]);
    assert.equal(error.message, `The secret store cannot use ${path}`);
    assert.match(error.why ?? "", why);
    if (fix !== undefined) assert.equal(error.fix, fix);
    assert.doesNotMatch(`${error.message}${error.why}${error.fix}`, /hidden/);
    return true;
  });
}

async function modesBelow(root: string): Promise<Map<string, string>> {
  const names = [".", ...(await readdir(root, { recursive: true }))];
  const modes = names.map(async (name) => [name, ((await lstat(join(root, name))).mode & 0o777).toString(8)] as const);
  return new Map(await Promise.all(modes));
}

testSecretStore("FileSecretStore", openFileStore);

for (const umask of [0o000, 0o022, 0o077]) {
  test(`folders have mode 700 and files have mode 600 with umask ${umask.toString(8).padStart(3, "0")}`, async () => {
    const before = process.umask(umask);
    try {
      await using opened = await openFilledStore();
      assert.deepEqual([...(await modesBelow(opened.root))].toSorted(), [
        [".", "700"],
        ["secret", "700"],
        ["secret/a", "700"],
        ["secret/a/1.json", "600"],
      ]);
    } finally {
      process.umask(before);
    }
  });
}

for (const mode of [0o750, 0o705, 0o777]) {
  test(`a folder with mode ${mode.toString(8)} is refused, with the chmod command that fixes it`, async () => {
    await using opened = await openFilledStore();
    for (const folder of [opened.root, join(opened.root, "secret"), opened.folder]) {
      await chmod(folder, mode);
      const fix = `Run chmod 700 ${JSON.stringify(folder)}`;
      const why = new RegExp(`Other users have access: its mode is ${mode.toString(8)}`);
      await assertRefused(opened.store.read("secret/a"), folder, why, fix);
      await assertRefused(opened.store.write("secret/a", {}, { cas: 1 }), folder, why, fix);
      await chmod(folder, 0o700);
    }
    assert.equal((await opened.store.read("secret/a"))?.version, 1);
  });
}

for (const mode of [0o640, 0o604, 0o666]) {
  test(`a file with mode ${mode.toString(8)} is refused, with the chmod command that fixes it`, async () => {
    await using opened = await openFilledStore();
    await chmod(opened.file, mode);
    const why = new RegExp(`its mode is ${mode.toString(8)}`);
    await assertRefused(
      opened.store.read("secret/a"),
      opened.file,
      why,
      `Run chmod 600 ${JSON.stringify(opened.file)}`,
    );
  });
}

test("a folder that is a link is refused", async () => {
  await using opened = await openFilledStore();
  for (const folder of [opened.folder, join(opened.root, "secret"), opened.root]) {
    await rename(folder, `${folder}-real`);
    await symlink(`${folder}-real`, folder);
    await assertRefused(opened.store.read("secret/a"), folder, /not a folder; symbolic links are not followed/);
    await assertRefused(opened.store.write("secret/a", {}, { cas: 1 }), folder, /symbolic links are not followed/);
    await rm(folder);
    await rename(`${folder}-real`, folder);
  }
});

test("a file that is a link is refused", async () => {
  await using opened = await openFilledStore();
  await rename(opened.file, join(opened.root, "elsewhere"));
  await symlink(join(opened.root, "elsewhere"), opened.file);
  await assertRefused(
    opened.store.read("secret/a"),
    opened.file,
    /not a regular file; symbolic links are not followed/,
  );
});

const canGiveAway = process.getuid?.() === 0;

test("files and folders of another user are refused", {
  skip: canGiveAway ? false : "only root may chown",
}, async () => {
  await using opened = await openFilledStore();
  for (const path of [opened.root, opened.folder, opened.file]) {
    await chown(path, 12_345, 0);
    const why = /It belongs to user 12345, but this script runs as user 0\./;
    await assertRefused(opened.store.read("secret/a"), path, why, "Run this as its owner.");
    await chown(path, 0, 0);
  }
});

for (const content of ["", "{", "null", "[]", '"hidden"', '{"password": 1}', '{"password": {"a": "hidden"}}']) {
  test(`a file with the content ${JSON.stringify(content)} is reported`, async () => {
    await using opened = await openFilledStore();
    await writeFile(opened.file, content);
    await assertRefused(opened.store.read("secret/a"), opened.file, /not a JSON object of strings/);
  });
}

test("no temporary file is left after a write that succeeds, conflicts or fails", async () => {
  await using opened = await openFilledStore();
  await Promise.allSettled(Array.from({ length: 20 }, () => opened.store.write("secret/a", {}, { cas: 1 })));
  // A folder with the name of the next version makes link() fail.
  await mkdir(join(opened.folder, "3.json"), { mode: 0o700 });
  await assert.rejects(opened.store.write("secret/a", {}, { cas: 2 }));
  assert.deepEqual((await readdir(opened.folder)).toSorted(), ["1.json", "2.json", "3.json"]);
});

test("at most ten versions are kept", async () => {
  await using opened = await openFilledStore();
  for (let version = 1; version < 13; version++) await opened.store.write("secret/a", {}, { cas: version });
  const names = Array.from({ length: 10 }, (_, index) => `${index + 4}.json`);
  assert.deepEqual((await readdir(opened.folder)).toSorted(), names.toSorted());
});

test("files that are not versions are left alone", async () => {
  await using opened = await openFilledStore();
  for (const name of ["notes.txt", "01.json", ".99.json", "2.json.bak"]) await writeFile(join(opened.folder, name), "");
  assert.equal(await opened.store.write("secret/a", {}, { cas: 1 }), 2);
  assert.equal((await readdir(opened.folder)).length, 6);
});

test("status() reports where the store is and whether it exists", async () => {
  await using opened = await openFileStore();
  assert.deepEqual(await opened.store.status(), { kind: "file", location: opened.root, isReady: false });
  await opened.store.write("secret/a", {}, { cas: 0 });
  assert.deepEqual(await opened.store.status(), { kind: "file", location: opened.root, isReady: true });
});

test("read() does not create the folder", async () => {
  await using opened = await openFileStore();
  assert.equal(await opened.store.read("secret/a"), undefined);
  await assert.rejects(lstat(opened.root), { code: "ENOENT" });
});
