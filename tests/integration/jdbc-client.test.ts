import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { promisify } from "node:util";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { withDatabase } from "../support/database.ts";

const run = promisify(execFile);
const driver = "org.postgresql:postgresql:42.7.8";
const dependencyPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
const skip = findReason();

function findReason(): string | false {
  const { CQRS_TEST_JVM, CQRS_TEST_ROUNDS } = process.env;
  if (!CQRS_TEST_JVM && !CQRS_TEST_ROUNDS) return "takes half a minute: set CQRS_TEST_JVM=1, or run a soak";
  const missing = ["java", "mvn"].filter((program) => spawnSync(program, ["-version"]).status !== 0);
  return missing.length > 0 ? `there is no ${missing.join(" and no ")} on the PATH` : false;
}

test("a JVM client with pgjdbc alone appends, reads the log, and handles errors", { skip }, async () => {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-jdbc-"));
  try {
    await using database = await withDatabase();
    await run("mvn", ["-q", "-B", dependencyPlugin, `-Dartifact=${driver}`, `-DoutputDirectory=${dir}`]);
    const { host, port, user, password } = database.application;
    const url = `jdbc:postgresql://${host}:${port}/${database.name}`;
    const env = { ...process.env, JDBC_URL: url, PGUSER: String(user), PGPASSWORD: password };
    const file = join(assetsDir, "tests/support/jdbc/PlainClient.java");
    const { stdout } = await run("java", ["-cp", join(dir, "*"), file], { env });
    const [appended, conflict, usable, after, log, refusal] = stdout.trimEnd().split("\n");
    assert.equal(appended, "appended 8");
    assert.match(conflict ?? "", /^conflict UE001 \{"expected" : 3, "actual" : 8, "aggregate_type" : "Order"/);
    assert.equal(usable, "usable after it true, version 9");
    assert.deepEqual([after, log], ["after the rollback 8", "log true"]);
    assert.match(refusal ?? "", /^repeatable read 25001 /);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
