import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Config, wrongSettings } from "../config.ts";
import { type ConnectionTarget, openConnection } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { checkLogin, reconcilePassword } from "../postgres/logins/login.ts";
import { ensureRoles, prepareLogin, readAdministrator } from "../postgres/logins/roles.ts";
import { scramVerifier } from "../postgres/logins/scram.ts";
import { lockRotation, readTurn } from "../postgres/logins/twin.ts";
import {
  followLogin,
  type Login,
  type LoginPair,
  loginPair,
  requireKey,
  secretPaths,
  switchLogin,
} from "../secrets/application-secret.ts";
import { generatePassword } from "../secrets/password.ts";
import { SecretConflict, type SecretVersion } from "../secrets/store.ts";
import { type AdministratorSession, keepOutOfLog } from "./login-pair.ts";
import { administratorTarget, lockForRun, openStack, type RunContext, type Stack, secretMissing } from "./stack.ts";
import { renewApplicationLogin } from "./vault-setup.ts";

/** What a rotation has left. */
export interface Rotation {
  /** The login that the secret names now. */
  readonly login: string;
  /** The login that it named before. */
  readonly previous: string;
  /** Until when that one is good for new connections, as an ISO 8601 text. */
  readonly previousUntil: string;
}

/** How to rotate. */
export interface RotateOptions {
  /** Takes the other login even if applications may still be using it from the rotation before. */
  readonly endGrace: boolean;
}

/** One rotation at work. */
interface RotationContext {
  readonly stack: Stack;
  readonly session: AdministratorSession;
  /** The administrator's way to the server. */
  readonly target: ConnectionTarget;
  readonly run: RunContext;
}

/**
 * Gives the application other credentials while it goes on working: the login that is not in use gets a new password,
 * the secret names it, and the one that was in use ends after its grace. The secret id by which the application logs in to
 * Vault is renewed with it.
 *
 * At each moment the secret names a login that is good. A rotation that was cut off is finished by the next one, or by
 * a bootstrap; before the secret was written there is nothing to finish, and it begins anew.
 *
 * @throws {ScriptError} `IN_GRACE` (exit 8) while the other login is still good, `LOCKED` (exit 5) while another rotation
 * is at work, `SECRETS_MISSING`, `NOT_RUNNING` (exit 3)
 */
export async function rotateLogin(config: Config, run: RunContext, options: RotateOptions): Promise<Rotation> {
  if (config.password !== undefined) throw wrongSettings(["POSTGRES_PASSWORD fixes the password: remove it to rotate"]);
  const stack = await openStack(config);
  using _lock = stack.mode === "embedded" ? await lockForRun(stack, "secrets rotate", run) : undefined;
  const target = await administratorTarget(stack);
  await using connection = openConnection(target, { applicationName: "cqrs-postgres rotate", signal: run.signal });
  const { sql } = connection;
  try {
    const session = { sql, administrator: await readAdministrator(sql) };
    await keepOutOfLog(session);
    await lockRotation(sql);
    const rotation = await rotateUnderLock({ stack, session, target, run }, options);
    await run.reporter.step("secret id", () => renewApplicationLogin(stack));
    return rotation;
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

async function rotateUnderLock(work: RotationContext, { endGrace }: RotateOptions): Promise<Rotation> {
  const { stack, session } = work;
  const secret = await stack.secrets.read(secretPaths.application);
  if (secret === undefined) throw secretMissing(secretPaths.application);
  const pair = loginPair(stack.user, requireKey(secret.data, "username", secretPaths.application));
  if ((await readTurn(session.sql, pair.login)).turn === "prepared") return finishRotation(work, secret, pair);
  const other = await readTurn(session.sql, pair.twin);
  if (other.turn === "current") throw notOurs(pair.twin);
  if (other.turn === "ending" && !endGrace) throw inGrace(pair.twin, other.until);
  const next = { username: pair.twin, password: generatePassword() };
  await prepareNextLogin(work, next);
  work.run.signal.throwIfAborted();
  await publishLogin(work, secret, next);
  return retirePreviousLogin(work, { login: pair.twin, twin: pair.login });
}

async function prepareNextLogin(
  { session, target, run }: RotationContext,
  { username, password }: Login,
): Promise<void> {
  await run.reporter.step("login", async () => {
    await prepareLogin(session.sql, session.administrator, username, await scramVerifier(password));
    await checkLogin({ ...target, user: username, password });
    return { isChanged: true, detail: `gave ${username} a new password` };
  });
}

async function publishLogin(work: RotationContext, current: SecretVersion, next: Login): Promise<void> {
  await work.run.reporter.step("secret", async () => {
    try {
      await switchLogin(work.stack.secrets, current, next);
    } catch (error) {
      if (error instanceof SecretConflict) await followSecret(work);
      throw error;
    }
    return { isChanged: true, detail: `${secretPaths.application} names ${next.username}` };
  });
}

/** Whoever wrote the secret in our place may have named the login whose password we have just changed. */
async function followSecret({ stack, session, target }: RotationContext): Promise<void> {
  const written = await stack.secrets.read(secretPaths.application);
  const { username, password } = written?.data ?? {};
  if (username === undefined || password === undefined) return;
  await reconcilePassword(session.sql, session.administrator, { ...target, user: username, password });
}

async function finishRotation(work: RotationContext, { data }: SecretVersion, pair: LoginPair): Promise<Rotation> {
  work.run.reporter.info("finishing a rotation that was cut off");
  const password = requireKey(data, "password", secretPaths.application);
  await followLogin(work.stack.secrets, { username: pair.login, password });
  return retirePreviousLogin(work, pair);
}

async function retirePreviousLogin(
  { stack, session, run }: RotationContext,
  { login, twin }: LoginPair,
): Promise<Rotation> {
  const { sql, administrator } = session;
  await run.reporter.step("retire", async () => {
    await ensureRoles(sql, administrator, login, { name: twin, graceMs: stack.config.graceMs });
    return { isChanged: true, detail: `${twin} ends` };
  });
  const previousUntil = (await readTurn(sql, twin)).until.toISOString();
  return { login, previous: twin, previousUntil };
}

function inGrace(login: string, until: Date): ScriptError {
  return new ScriptError({
    code: "IN_GRACE",
    exitCode: exitCodes.refused,
    message: `${login} is still good until ${until.toISOString()}`,
    why: "It was replaced a short while ago; an application that has not read the new secret yet may be using it.",
    fix: "Rotate after that; or at once, ending its grace: bun run secrets rotate --yes",
  });
}

function notOurs(login: string): ScriptError {
  return new ScriptError({
    code: "LOGIN_TAKEN",
    exitCode: exitCodes.refused,
    message: `${login} is in use`,
    why: "The server has a login of that name that no rotation has made, or made ready.",
    fix: `If an older secret was brought back: bun run bootstrap. If it is somebody else's: another --user (POSTGRES_USER).`,
  });
}
