import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { append } from "../support/append.ts";
import { type ComposeStack, makeComposeStack, run } from "../support/compose.ts";
import { startProgram } from "../support/run-script.ts";

const idFile = "infrastructure/postgres/backups/.stack-id";

/** Runs a script of a clone, on the host. */
function script({ dir, env }: ComposeStack, name: string, words: readonly string[] = []) {
  return startProgram(join(dir, `scripts/${name}.ts`), words, { env: { ...env, CQRS_MODE: "compose" } }).ended;
}

async function countEvents(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::int from event_store.domain_event`;
  return row?.count ?? 0;
}

test("docker compose in a second clone does not use the data of the first, and no command there deletes it", async () => {
  await using first = await makeComposeStack();
  await using second = await makeComposeStack({ COMPOSE_PROJECT_NAME: first.project });
  await first.mustCompose("up", "--wait");
  await first.withSession((sql) => append(sql, {}));

  const up = await second.compose("up", "--wait");
  assert.notEqual(up.exitCode, 0);
  assert.match(up.stderr, /service "keys" didn't complete successfully: exit 8/);
  const log = await second.mustCompose("logs", "--no-log-prefix", "keys");
  assert.match(
    log,
    new RegExp(`error: the volumes of the compose project ${first.project} belong to another folder$`, "m"),
  );
  assert.match(log, / {2}fix: .*set COMPOSE_PROJECT_NAME.*docker compose run --rm -e CQRS_TAKE_OVER=yes keys$/m);

  // These containers are gone, so only the volumes show whose they are.
  await second.mustCompose("down");
  for (const line of ["bootstrap", "destroy --yes", "destroy --yes --json"]) {
    const [name = "", ...words] = line.split(" ");
    const { exitCode, stdout, stderr } = await script(second, name, words);
    assert.equal(exitCode, 8, stdout + stderr);
    assert.match(stdout + stderr, /The compose project .* belongs to another folder/);
    assert.match(stdout + stderr, /CQRS_TAKE_OVER=yes keys/);
    await second.mustCompose("down");
  }
  const volumes = (await run("docker", ["volume", "ls", "-q"], { env: first.env })).stdout.split("\n");
  assert.ok(volumes.includes(`${first.project}-postgres-data`));

  await first.mustCompose("up", "--wait");
  assert.equal(await first.withSession(countEvents), 1);
  await first.mustCompose("down");

  await second.mustCompose("run", "--rm", "-T", "-e", "CQRS_TAKE_OVER=yes", "keys");
  assert.notEqual(await readFile(join(second.dir, idFile), "utf8"), await readFile(join(first.dir, idFile), "utf8"));
  const former = await first.compose("run", "--rm", "-T", "--no-deps", "keys", "check");
  assert.equal(former.exitCode, 8, "the volumes are no longer those of the first folder");
  const taken = await script(second, "bootstrap");
  assert.equal(taken.exitCode, 0, taken.stderr);
  await second.mustCompose("down");
});

test("volumes without an id are those of the first folder that uses them; a deleted or another id is refused", async () => {
  await using stack = await makeComposeStack();
  const keys = (...words: string[]) => stack.compose("run", "--rm", "-T", "--no-deps", ...words);
  assert.equal((await keys("keys", "check")).exitCode, 0, "there is nothing yet");
  assert.equal((await keys("keys")).exitCode, 0);
  const id = await readFile(join(stack.dir, idFile), "utf8");
  assert.match(id, /^[a-z0-9]{32}\n$/);
  assert.equal((await keys("keys")).exitCode, 0);
  for (const change of [() => rm(join(stack.dir, idFile)), () => writeFile(join(stack.dir, idFile), "another\n")]) {
    await change();
    for (const words of [["keys"], ["keys", "check"]] as const) {
      const { exitCode, stderr } = await keys(...words);
      assert.equal(exitCode, 8, stderr);
      assert.match(stderr, /why: infrastructure\/postgres\/backups\/\.stack-id is not that of the volumes/);
    }
  }
  assert.equal((await keys("-e", "CQRS_TAKE_OVER=yes", "keys")).exitCode, 0);
  const taken = await readFile(join(stack.dir, idFile), "utf8");
  assert.match(taken, /^[a-z0-9]{32}\n$/);
  assert.notEqual(taken, id);
  assert.equal((await keys("keys")).exitCode, 0);
  // After `down --volumes`, the folder keeps its id.
  await stack.mustCompose("down", "--volumes");
  assert.equal((await keys("keys")).exitCode, 0);
  assert.equal(await readFile(join(stack.dir, idFile), "utf8"), taken);
});
