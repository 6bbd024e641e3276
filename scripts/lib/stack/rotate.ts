import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Config, wrongSettings } from "../config.ts";
import { type LoginPair, loginPair } from "../login-names.ts";
import { checkLogin, reconcilePassword } from "../postgres/logins/login.ts";
import { ensureRoles, prepareLogin } from "../postgres/logins/roles.ts";
import { scramVerifier } from "../postgres/logins/scram.ts";
import { lockRotation, readLoginState } from "../postgres/logins/twin.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { type Login, requireKey, secretPaths, switchLocalLogin, switchLogin } from "../secrets/application-secret.ts";
import { generatePassword } from "../secrets/password.ts";
import { SecretConflict, type SecretVersion } from "../secrets/store.ts";
import { type AdministratorSession, withAdministrator } from "./administrator.ts";
import { lockForRun, openStack, type RunContext, requireSecret, type Stack } from "./stack.ts";
import { renewApplicationLogin } from "./vault-setup.ts";

/** The result of a rotation. */
export interface Rotation {
  /** The login in the secret now. */
  readonly login: string;
  /** The login that was in the secret before. */
  readonly previous: string;
  /** When the previous login stops accepting new connections, in ISO 8601. */
  readonly previousUntil: string;
}

/** How to rotate. */
export interface RotateOptions {
  /** Switches to the other login even during its grace period, when applications may still use it. */
  readonly endGrace: boolean;
}

/** A running rotation. */
interface RotationContext {
  readonly stack: Stack;
  readonly run: RunContext;
  /** The server, with the administrator's login. */
  readonly target: ConnectionTarget;
  readonly session: AdministratorSession;
}

/**
 * Rotates the application's credentials without downtime: sets a new password for the login that is not in use, writes
 * that login to the secret, and expires the previous login after the grace period. Also renews the secret id with which
 * the application logs in to Vault.
 *
 * The secret contains a valid login at all times. If a rotation is interrupted after it has written the secret, the
 * next rotation or bootstrap completes it; before that, there is nothing to complete.
 *
 * @throws {ScriptError} `IN_GRACE` (exit 8) while the other login has not expired, `LOCKED` (exit 5) while another
 * rotation is running, `SECRETS_MISSING`, `NOT_RUNNING` (exit 3)
 */
export async function rotateLogin(config: Config, run: RunContext, options: RotateOptions): Promise<Rotation> {
  if (config.password !== undefined)
    throw wrongSettings(["POSTGRES_PASSWORD sets a fixed password; remove it to rotate"]);
  const stack = await openStack(config);
  using _lock = stack.mode === "embedded" ? await lockForRun(stack, run, "secrets rotate") : undefined;
  // Awaited here, because the lock is released when this function returns.
  return await withAdministrator(stack, run, "cqrs-postgres rotate", async (session, target) => {
    await lockRotation(session.sql);
    const rotation = await rotateUnderLock({ stack, run, target, session }, options);
    if (stack.secretsPlace !== "file") await run.reporter.step("secret id", () => renewApplicationLogin(stack));
    return rotation;
  });
}

async function rotateUnderLock(context: RotationContext, { endGrace }: RotateOptions): Promise<Rotation> {
  const { stack, run, session } = context;
  const secret = await requireSecret(stack.secrets, secretPaths.application);
  const pair = loginPair(stack.user, requireKey(secret.data, "username", secretPaths.application));
  if ((await readLoginState(session.sql, pair.current)).state === "prepared")
    return completeRotation(context, secret, pair);
  const { state, until } = await readLoginState(session.sql, pair.other);
  if (state === "current") throw loginTaken(pair.other);
  if (state === "expiring" && !endGrace) throw inGrace(pair.other, until);
  const next = { username: pair.other, password: generatePassword() };
  await prepareNextLogin(context, next);
  run.signal.throwIfAborted();
  await publishLogin(context, secret, next);
  return expirePreviousLogin(context, { current: pair.other, other: pair.current });
}

async function prepareNextLogin(
  { run, target, session }: RotationContext,
  { username, password }: Login,
): Promise<void> {
  await run.reporter.step("login", async () => {
    await prepareLogin(session.sql, session.administrator, username, await scramVerifier(password));
    await checkLogin({ ...target, user: username, password });
    return { isChanged: true, detail: `set a new password for ${username}` };
  });
}

async function publishLogin(context: RotationContext, secret: SecretVersion, next: Login): Promise<void> {
  await context.run.reporter.step("secret", async () => {
    try {
      await switchLogin(context.stack.secrets, secret, next);
    } catch (error) {
      if (error instanceof SecretConflict) await applyStoredPassword(context);
      throw error;
    }
    return { isChanged: true, detail: `${secretPaths.application} contains ${next.username}` };
  });
}

/** The concurrent writer of the secret may have chosen the login whose password we just changed. */
async function applyStoredPassword({ stack, target, session }: RotationContext): Promise<void> {
  const written = await stack.secrets.read(secretPaths.application);
  const { username, password } = written?.data ?? {};
  if (username === undefined || password === undefined) return;
  await reconcilePassword(session.sql, session.administrator, { ...target, user: username, password });
}

async function completeRotation(context: RotationContext, { data }: SecretVersion, pair: LoginPair): Promise<Rotation> {
  context.run.reporter.info("completing a rotation that was interrupted");
  const password = requireKey(data, "password", secretPaths.application);
  await switchLocalLogin(context.stack.secrets, { username: pair.current, password });
  return expirePreviousLogin(context, pair);
}

async function expirePreviousLogin(
  { stack, run, session }: RotationContext,
  { current, other }: LoginPair,
): Promise<Rotation> {
  const { sql, administrator } = session;
  const { graceMs } = stack.config;
  await run.reporter.step("retire", async () => {
    await ensureRoles(sql, administrator, current, { name: other, graceMs });
    return { isChanged: true, detail: `${other} ${graceMs === 0 ? "has expired" : "expires after the grace period"}` };
  });
  const previousUntil = (await readLoginState(sql, other)).until.toISOString();
  return { login: current, previous: other, previousUntil };
}

function inGrace(login: string, until: Date): ScriptError {
  return new ScriptError({
    code: "IN_GRACE",
    exitCode: exitCodes.refused,
    message: `${login} is still valid until ${until.toISOString()}`,
    why: "A recent rotation replaced it, and an application that has not read the new secret yet may be using it.",
    fix: `Rotate after that time, or run ${runLine("secrets rotate")} --yes, which ends the grace period now.`,
  });
}

function loginTaken(login: string): ScriptError {
  return new ScriptError({
    code: "LOGIN_TAKEN",
    exitCode: exitCodes.refused,
    message: `Cannot rotate to ${login}: it is an active login`,
    why: "The server has a login of that name that no rotation created or prepared.",
    fix: `If you restored an older secret, run ${runLine("bootstrap")}. Otherwise pass another --user (POSTGRES_USER).`,
  });
}
