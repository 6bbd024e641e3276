import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { health, startComposeStack, until } from "../support/compose.ts";
import { startProgram } from "../support/run-script.ts";

test("health of verify fails if the container of the server is unhealthy, although the server answers", async () => {
  await using stack = await startComposeStack();
  const faster = "services: { postgres: { healthcheck: { interval: 500ms, retries: 2 } } }";
  await writeFile(join(stack.dir, "docker-compose.override.yml"), faster);
  const script = (name: string, ...words: string[]) =>
    startProgram(join(stack.dir, `scripts/${name}.ts`), words, { env: { ...stack.env, CQRS_MODE: "compose" } }).ended;
  assert.equal((await script("bootstrap")).exitCode, 0);
  const change = async (hba: string) => {
    const exec = (user: string, words: string) =>
      stack.compose("exec", "-T", "--user", user, "postgres", "sh", "-c", words);
    const changed = await exec("postgres", `cd "$PGDATA" && ${hba} && kill -HUP 1`);
    assert.equal(changed.exitCode, 0, changed.stderr);
    // The pause before the next check.
    await exec("root", "pkill sleep");
  };
  // Other hosts, such as this one, still get in.
  await change("cp pg_hba.conf kept && { echo 'host all all 127.0.0.1/32 reject'; cat kept; } >pg_hba.conf");
  await until("the container is unhealthy", async () => (await health(stack, "postgres")) === "unhealthy");
  const failed = await script("verify", "--json");
  assert.equal(failed.exitCode, 11, failed.stderr);
  const checks: { id: string; result: string; why: string; fix: string }[] = JSON.parse(failed.stdout).data.checks;
  const problems = checks.filter(({ result }) => result === "failed");
  assert.deepEqual(
    problems.map(({ id }) => id),
    ["health"],
  );
  assert.equal(problems[0]?.why, `the container ${stack.project}-postgres is unhealthy`);
  assert.match(problems[0]?.fix ?? "", new RegExp(`docker logs ${stack.project}-postgres`));
  await change("mv kept pg_hba.conf");
  await until("the container is healthy again", async () => (await health(stack, "postgres")) === "healthy");
  assert.equal((await script("verify")).exitCode, 0);
});
