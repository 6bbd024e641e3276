import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { SecretConflict, type SecretData, type SecretStore } from "../../scripts/lib/secrets/store.ts";
import { testRounds } from "./runtime.ts";

/** An empty store. Disposing of it removes its files or server. */
export interface OpenedStore extends AsyncDisposable {
  readonly store: SecretStore;
}

/** Paths that every store must refuse. */
export const badSecretPaths: readonly string[] = [
  "",
  "secret",
  "/secret/a",
  "secret/a/",
  "secret//a",
  "secret/.",
  "secret/..",
  "../secret/a",
  "secret/../../a",
  "secret/a b",
  "secret/a%2e",
  "secret\\a/b",
  "secret/ä",
  "secret/a\n",
  "secret/a\u0000",
  "secret/a?list=true",
];

const path = "secret/contract/database";
const parallelCalls = 20;

/**
 * Declares the tests that every secret store passes.
 *
 * @param name the store's name, used in the names of the tests
 * @param openStore opens an empty store for one test
 * @param skip why these tests cannot run here
 */
export function testSecretStore(
  name: string,
  openStore: () => Promise<OpenedStore>,
  skip: string | false = false,
): void {
  const check = (sentence: string, work: (store: SecretStore) => Promise<void>) =>
    test(`${name}: ${sentence}`, { skip }, async () => {
      await using opened = await openStore();
      await work(opened.store);
    });
  testReadingAndWriting(check);
  testRaces(check);
}

type Check = (sentence: string, work: (store: SecretStore) => Promise<void>) => void;

function testReadingAndWriting(check: Check): void {
  check("read() returns undefined for a secret that was never written", async (store) => {
    assert.equal(await store.read(path), undefined);
  });

  check("write() creates the first version, and read() returns it", async (store) => {
    assert.equal(await store.write(path, { username: "me", password: "one" }, { cas: 0 }), 1);
    assert.deepEqual(await store.read(path), { data: { username: "me", password: "one" }, version: 1 });
  });

  check("write() replaces all keys", async (store) => {
    await store.write(path, { old: "1" }, { cas: 0 });
    await store.write(path, { new: "2" }, { cas: 1 });
    assert.deepEqual(await store.read(path), { data: { new: "2" }, version: 2 });
  });

  for (const cas of [0, 2]) {
    check(`write() expecting version ${cas} instead of 1 is refused and writes nothing`, async (store) => {
      await store.write(path, { password: "one" }, { cas: 0 });
      await assert.rejects(store.write(path, { password: "secret" }, { cas }), isConflict);
      assert.deepEqual(await store.read(path), { data: { password: "one" }, version: 1 });
    });
  }

  check("write() expecting a version of a missing secret is refused", async (store) => {
    await assert.rejects(store.write(path, { password: "secret" }, { cas: 1 }), isConflict);
    assert.equal(await store.read(path), undefined);
  });

  check("each of more than ten writes increments the version by one", async (store) => {
    for (let version = 1; version <= 13; version++) {
      assert.equal(await store.write(path, { password: `${version}` }, { cas: version - 1 }), version);
      assert.deepEqual(await store.read(path), { data: { password: `${version}` }, version });
    }
  });

  check("sibling and nested secrets are separate", async (store) => {
    await store.write(path, { at: "path" }, { cas: 0 });
    await store.write(`${path}-local`, { at: "sibling" }, { cas: 0 });
    await store.write(`${path}/below`, { at: "below" }, { cas: 0 });
    assert.deepEqual((await store.read(path))?.data, { at: "path" });
    assert.deepEqual((await store.read(`${path}-local`))?.data, { at: "sibling" });
    assert.deepEqual((await store.read(`${path}/below`))?.data, { at: "below" });
  });

  check("values are returned unchanged: Unicode, quotes, line ends, empty strings", async (store) => {
    const data = {
      unicode: "ä 漢 🐘 \u0000",
      quotes: "\" ' ` \\ $HOME $(x)",
      lines: "one\ntwo\r\n",
      empty: "",
      "a key": "1",
    };
    await store.write(path, data, { cas: 0 });
    assert.deepEqual((await store.read(path))?.data, data);
  });

  check("ensure() creates a secret only once", async (store) => {
    const first = await store.ensure(path, () => ({ password: "one" }));
    assert.deepEqual(first, { data: { password: "one" }, version: 1, isNew: true });
    const second = await store.ensure(path, () => assert.fail("it exists"));
    assert.deepEqual(second, { data: { password: "one" }, version: 1, isNew: false });
  });

  check("bad paths are refused", async (store) => {
    for (const bad of badSecretPaths) {
      await assert.rejects(() => store.read(bad), isBadPath);
      await assert.rejects(() => store.write(bad, { password: "secret" }, { cas: 0 }), isBadPath);
      await assert.rejects(() => store.ensure(bad, () => ({ password: "secret" })), isBadPath);
    }
  });

  check("status() reports that the store is ready once something was written", async (store) => {
    await store.write(path, { password: "secret" }, { cas: 0 });
    const status = await store.status();
    assert.equal(status.isReady, true);
    assert.doesNotMatch(JSON.stringify(status), /secret"/);
  });
}

function testRaces(check: Check): void {
  check("of many concurrent writes that expect the same version exactly one succeeds", async (store) => {
    for (let round = 0; round < testRounds(3); round++) {
      const writes = await inParallel((index) => store.write(path, { writer: `${index}` }, { cas: round }));
      const winners = writes.flatMap(({ status }, index) => (status === "fulfilled" ? [index] : []));
      assert.equal(winners.length, 1, `${winners.length} writes succeeded`);
      for (const write of writes) assert.ok(write.status === "fulfilled" || isConflict(write.reason));
      assert.deepEqual(await store.read(path), { data: { writer: `${winners[0]}` }, version: round + 1 });
    }
  });

  check("concurrent calls of ensure() agree on one value", async (store) => {
    for (let round = 0; round < testRounds(3); round++) {
      const own = `${path}-${round}`;
      const results = await inParallel((index) => store.ensure(own, () => ({ maker: `${index}` })));
      const made = results.map((result) => (result.status === "fulfilled" ? result.value : assert.fail(result.reason)));
      const stored = (await store.read(own))?.data as SecretData;
      for (const { data, version } of made) assert.deepEqual({ data, version }, { data: stored, version: 1 });
      assert.equal(made.filter(({ isNew }) => isNew).length, 1);
    }
  });
}

function inParallel<Result>(call: (index: number) => Promise<Result>): Promise<PromiseSettledResult<Result>[]> {
  return Promise.allSettled(Array.from({ length: parallelCalls }, (_, index) => call(index)));
}

function isConflict(error: unknown): true {
  assert.ok(error instanceof SecretConflict, String(error));
  assert.deepEqual([error.code, error.exitCode, error.path], ["SECRET_CONFLICT", 5, path]);
  assert.doesNotMatch(`${error.message}${error.why}${error.fix}`, /secret"/);
  return true;
}

function isBadPath(error: unknown): true {
  assert.ok(error instanceof ScriptError, String(error));
  assert.equal(error.code, "SECRET_PATH");
  return true;
}
