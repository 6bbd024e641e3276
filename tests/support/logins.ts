import assert from "node:assert/strict";
import { join } from "node:path";
import { loadConfig } from "../../scripts/lib/config.ts";
import { connect } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/login.ts";
import { readTurn } from "../../scripts/lib/postgres/twin.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { type Rotation, rotateLogin } from "../../scripts/lib/stack/rotate.ts";
import { openTestStack, silentRun, type TestStack } from "./stack.ts";

/** Asserts that both secrets name logins that PostgreSQL accepts at this moment; returns the application's. */
export async function assertSecretsLogIn({ stackDir }: Pick<TestStack, "stackDir">): Promise<string> {
  const { secrets } = await openTestStack(stackDir);
  const names: string[] = [];
  for (const path of [secretPaths.application, secretPaths.applicationLocal]) {
    const { username, password, host, port, database, uri } = (await secrets.read(path))?.data ?? {};
    await checkLogin({
      host: host ?? "",
      port: Number(port),
      database: database ?? "",
      user: username ?? "",
      password,
    });
    assert.equal(uri, `postgres://${username}:${password}@${host}:${port}/${database}`);
    names.push(username ?? "");
  }
  return names[0] ?? "";
}

/** Asserts that one login is the application's, in both secrets, and the other one ends or has ended. */
export async function assertSettled(stack: TestStack): Promise<string> {
  const login = await assertSecretsLogIn(stack);
  assert.equal((await stack.application()).user, login, "both secrets name the same login");
  await using admin = connect(await stack.administrator());
  assert.equal((await readTurn(admin.sql, login)).turn, "current");
  const { turn } = await readTurn(admin.sql, otherLogin(login));
  assert.ok(turn !== "current", `${otherLogin(login)} is ${turn}`);
  return login;
}

/** @returns the login that takes turns with this one */
export function otherLogin(login: string): string {
  return login.endsWith("_b") ? login.slice(0, -2) : `${login}_b`;
}

/** How to rotate in a test; without a grace check and with a grace of a minute when left out. */
export interface TestRotation {
  readonly graceMs?: number;
  readonly endsGrace?: boolean;
}

/** Rotates in this process. */
export function rotateTestStack(
  { stackDir }: Pick<TestStack, "stackDir">,
  { graceMs = 60_000, endsGrace = true }: TestRotation = {},
): Promise<Rotation> {
  const sources = { environment: { CQRS_STACK_DIR: stackDir }, dotEnvFile: join(stackDir, "no.env") };
  return rotateLogin(loadConfig({ grace: `${graceMs}ms` }, sources), silentRun, { endsGrace });
}
