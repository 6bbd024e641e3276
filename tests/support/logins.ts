import assert from "node:assert/strict";
import { join } from "node:path";
import { type Config, loadConfig } from "../../scripts/lib/config.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/logins/login.ts";
import { readLoginState } from "../../scripts/lib/postgres/logins/twin.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { type Rotation, rotateLogin } from "../../scripts/lib/stack/rotate.ts";
import { openStack, readApplicationSecret } from "../../scripts/lib/stack/stack.ts";
import { silentRun, type TestStack } from "./stack.ts";

/** A stack whose credentials a test rotates. */
export interface RotatedStack extends Pick<TestStack, "stackDir" | "administrator"> {
  /** Variables that select its secret store; files by default. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How a test rotates; by default it ends the previous grace period and grants one of a minute. */
export interface TestRotation {
  readonly graceMs?: number;
  readonly endGrace?: boolean;
}

/** Rotates in this process. */
export function rotateTestStack(stack: RotatedStack, options: TestRotation = {}): Promise<Rotation> {
  const { graceMs = 60_000, endGrace = true } = options;
  return rotateLogin(configOf(stack, graceMs), silentRun, { endGrace });
}

/** A server and the application's login. */
type LoginTarget = ConnectionTarget & { readonly password: string };

/** Reads the login that a secret names now. */
export async function readLogin(
  stack: RotatedStack,
  path: string = secretPaths.applicationLocal,
): Promise<LoginTarget> {
  return (await openLogins(stack, path))();
}

/** Reads the secret with the application's own AppRole; unwraps its delivery if that has not happened yet. */
export async function readAsApplication(stack: RotatedStack): Promise<void> {
  await readApplicationSecret(await openStack(configOf(stack), "application"));
}

/** Opens the secret store once, as an application does, to read the login repeatedly. */
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

/** Asserts that PostgreSQL accepts the logins of both secrets; returns the application's login. */
export async function assertSecretsLogIn(stack: RotatedStack): Promise<string> {
  const login = await readLogin(stack, secretPaths.application);
  for (const target of [login, await readLogin(stack)]) await checkLogin(target);
  return login.user;
}

/** Asserts that both secrets name the same login, and that the other one expires; returns the application's login. */
export async function assertRotationComplete(stack: RotatedStack): Promise<string> {
  const login = await assertSecretsLogIn(stack);
  assert.equal((await readLogin(stack)).user, login, "both secrets name the same login");
  await using admin = openConnection(await stack.administrator());
  assert.equal((await readLoginState(admin.sql, login)).state, "current");
  const { state } = await readLoginState(admin.sql, otherLogin(login));
  assert.ok(state !== "current", `${otherLogin(login)} is ${state}`);
  return login;
}

/** @returns the other login of the pair */
export function otherLogin(login: string): string {
  return login.endsWith("_b") ? login.slice(0, -2) : `${login}_b`;
}

function configOf({ stackDir, env }: RotatedStack, graceMs = 60_000): Config {
  const environment = { ...env, CQRS_STACK_DIR: stackDir };
  return loadConfig({ grace: `${graceMs}ms` }, { environment, dotEnvFile: join(stackDir, "no.env") });
}
