import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { inspect } from "node:util";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { explainConnectionError } from "../../scripts/lib/postgres/explain.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { readFiles, watchProcesses } from "../support/leaks.ts";
import { runScript } from "../support/run-script.ts";
import { makeTestStack, openTestStack, sharedStack, type TestStack } from "../support/stack.ts";

const chosenPassword = "correct-horse-battery-staple-2026";

test("no password appears in an output, log, data file, environment or command line; only status --env prints it", async () => {
  await using stack = await makeTestStack();
  await using commandLines = watchProcesses();
  const outputs: string[] = [];
  const run = async (words: string[], env: Record<string, string> = {}) => {
    const { stdout, stderr } = await runScript(words, { ...stack, env });
    outputs.push(`${words.join(" ")}\n${stdout}${stderr}`);
  };
  await run(["bootstrap", "--verbose"], { PGPASSWORD: chosenPassword });
  const generated = (await stack.application()).password;
  await run(["bootstrap", "--json", "--verbose"], { POSTGRES_PASSWORD: chosenPassword });
  await run(["bootstrap", "--database", "postgres"], { POSTGRES_PASSWORD: chosenPassword });
  await run(["bootstrap"], { POSTGRES_PASSWORD: `${chosenPassword}\u00e9` });
  const url = `postgres://cqrs_user:${chosenPassword}@127.0.0.1:${(await stack.application()).port}/cqrs_db`;
  const elsewhere = { CQRS_MODE: "external", CQRS_STACK_DIR: `${stack.stackDir}/elsewhere` };
  await run(["bootstrap"], { ...elsewhere, DATABASE_URL: url.replace("cqrs_user", "nobody") });
  await run(["status"], { ...elsewhere, DATABASE_URL: url.replace("cqrs_db", "absent") });
  await run(["status", "--verbose"], { ...elsewhere, DATABASE_URL: `${url}?sslmode=${chosenPassword}x` });
  for (const words of [["status"], ["status", "--json"], ["schema", "status"], ["schema", "apply"]]) await run(words);
  const superuser = (await readSuperuserSecret(stack)).password;
  const serverEnvironment = readServerEnvironment(
    (await readFile(join(stack.dataDir, "postmaster.pid"), "utf8")).split("\n")[0],
  );
  const shown = await runScript(["status", "--env"], stack);
  const files = await readFiles(stack.stackDir, ["secrets", "elsewhere"]);
  await run(["stop"]);
  await run(["destroy"]);
  await run(["destroy", "--yes"]);

  assert.ok(shown.stdout.includes(chosenPassword), "status --env prints the password");
  assert.ok(commandLines.text().includes("postgres\0-D\0"), "the command lines were seen");
  assert.ok(files.has(join(stack.dataDir, "log/start.log")), "the logs were read");
  const logs = [...files].filter(([file]) => file.startsWith(join(stack.dataDir, "log/")));
  for (const [file, log] of logs) assert.ok(!log.includes("SCRAM-SHA-256$"), `${file} contains a password verifier`);
  for (const secret of [generated, chosenPassword, superuser]) {
    for (const output of outputs) assert.ok(!output.includes(secret), output);
    for (const [file, content] of files) assert.ok(!content.includes(secret), file);
    assert.ok(!commandLines.text().includes(secret), "a command line");
    assert.ok(!serverEnvironment.includes(secret), "the server's environment");
  }
});

test("a connection error contains no password in any representation", async () => {
  await using stack = await sharedStack();
  const target = { ...(await stack.application()), password: chosenPassword };
  await using connection = openConnection(target);
  const error = await connection.sql`select 1`.then(
    () => assert.fail("logged in with a wrong password"),
    (reason: unknown) => explainConnectionError(reason, target),
  );
  const views = [
    inspect(error, { depth: 10, showHidden: true }),
    JSON.stringify(error),
    String((error as Error).stack),
  ];
  for (const view of views) assert.ok(!view.includes(chosenPassword), view);
});

async function readSuperuserSecret(stack: TestStack): Promise<{ readonly password: string }> {
  const { secrets } = await openTestStack(stack.stackDir);
  const secret = await secrets.read(secretPaths.superuser);
  return { password: secret?.data["password"] ?? assert.fail("there is no superuser secret") };
}

/** Deno allows reading /proc only with all permissions; a program that it starts needs none. */
function readServerEnvironment(pid: string | undefined): string {
  if (process.platform !== "linux") return "";
  const { stdout, status } = spawnSync("cat", [`/proc/${pid}/environ`], { encoding: "utf8" });
  assert.equal(status, 0);
  return stdout;
}

test("this search finds a password that is in a log", async () => {
  await using stack = await makeTestStack();
  await runScript(["bootstrap"], stack);
  await writeFile(join(stack.dataDir, "log/extra.log"), `ALTER ROLE x PASSWORD '${chosenPassword}'`);
  const files = await readFiles(stack.stackDir, ["secrets"]);
  assert.ok([...files.values()].some((content) => content.includes(chosenPassword)));
});
