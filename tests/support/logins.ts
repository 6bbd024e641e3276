import assert from "node:assert/strict";
import { join } from "node:path";
import { type Config, loadConfig } from "../../scripts/lib/config.ts";
import { type ConnectionTarget, openConnection } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/logins/login.ts";
import { readTurn } from "../../scripts/lib/postgres/logins/twin.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { type Rotation, rotateLogin } from "../../scripts/lib/stack/rotate.ts";
import { openStack, readApplicationSecret } from "../../scripts/lib/stack/stack.ts";
import { silentRun, type TestStack } from "./stack.ts";

/** A stack whose credentials are rotated. */
export interface RotatedStack extends Pick<TestStack, "stackDir" | "administrator"> {
  /** Variables that say where its secrets are; files when left out. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How to rotate in a test; without a look at the grace before, and with one of a minute, when left out. */
export interface TestRotation {
  readonly graceMs?: number;
  readonly endGrace?: boolean;
}

/** Rotates in this process. */
export function rotateTestStack(stack: RotatedStack, options: TestRotation = {}): Promise<Rotation> {
  const { graceMs = 60_000, endGrace = true } = options;
  return rotateLogin(configOf(stack, graceMs), silentRun, { endGrace });
}

/** What an application knows of its server and its login. */
type LoginTarget = ConnectionTarget & { readonly password: string };

/** Reads the login that a secret names at this moment. */
export async function readLogin(
  stack: RotatedStack,
  path: string = secretPaths.applicationLocal,
): Promise<LoginTarget> {
  return (await openLogins(stack, path))();
}

/** Reads the secret by the application's own AppRole, whose delivery it takes where it was not taken yet. */
export async function readAsApplication(stack: RotatedStack): Promise<void> {
  await readApplicationSecret(await openStack(configOf(stack), "application"));
}

/** Opens the secret store once, as an application does, for a login that is read again and again. */
export async function openLogins(
  stack: RotatedStack,
  path: string = secretPaths.applicationLocal,
): Promise<() => Promise<LoginTarget>> {
  const { secrets } = await openStack(configOf(stack));
  return async () => {
    const {
      username = "",
      password = "",
      host = "",
      port,
      database = "",
      uri,
    } = (await secrets.read(path))?.data ?? {};
    assert.equal(uri, `postgres://${username}:${password}@${host}:${port}/${database}`);
    return { host, port: Number(port), database, user: username, password };
  };
}

/** Asserts that both secrets name logins that PostgreSQL accepts at this moment; returns the application's. */
export async function assertSecretsLogIn(stack: RotatedStack): Promise<string> {
  const login = await readLogin(stack, secretPaths.application);
  for (const target of [login, await readLogin(stack)]) await checkLogin(target);
  return login.user;
}

/** Asserts that one login is the application's, in both secrets, and the other one ends or has ended. */
export async function assertSettled(stack: RotatedStack): Promise<string> {
  const login = await assertSecretsLogIn(stack);
  assert.equal((await readLogin(stack)).user, login, "both secrets name the same login");
  await using admin = openConnection(await stack.administrator());
  assert.equal((await readTurn(admin.sql, login)).turn, "current");
  const { turn } = await readTurn(admin.sql, otherLogin(login));
  assert.ok(turn !== "current", `${otherLogin(login)} is ${turn}`);
  return login;
}

/** @returns the login that takes turns with this one */
export function otherLogin(login: string): string {
  return login.endsWith("_b") ? login.slice(0, -2) : `${login}_b`;
}

function configOf({ stackDir, env }: RotatedStack, graceMs = 60_000): Config {
  const environment = { ...env, CQRS_STACK_DIR: stackDir };
  return loadConfig({ grace: `${graceMs}ms` }, { environment, dotEnvFile: join(stackDir, "no.env") });
}
