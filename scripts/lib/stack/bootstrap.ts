import type { FinishedStep, StepResult } from "../cli/reporter.ts";
import { runLine } from "../cli/run-line.ts";
import { ScriptError } from "../cli/script-error.ts";
import type { Config, Mode } from "../config.ts";
import type { LoginPair } from "../login-names.ts";
import type { Connection } from "../postgres/connect.ts";
import { reconcilePassword } from "../postgres/logins/login.ts";
import { ensureRoles, refuseApplicationLogin } from "../postgres/logins/roles.ts";
import { connectForMaintenance, maintenanceDatabases } from "../postgres/maintenance.ts";
import { requirePrimary } from "../postgres/primary.ts";
import { explainServerEnd } from "../postgres/server/life-cycle.ts";
import { type ConnectionTarget, maskedUrl } from "../postgres/target.ts";
import { environment } from "../runtime.ts";
import { applySchema } from "../schema/apply.ts";
import { readAllFiles, readSchema } from "../schema/source.ts";
import { ensureApplicationSecret } from "../secrets/application-secret.ts";
import { type AdministratorSession, openSession } from "./administrator.ts";
import { settleCluster } from "./adopt.ts";
import { startContainers } from "./compose/life-cycle.ts";
import { ensureDatabase } from "./database.ts";
import { saveEmbeddedState, startEmbeddedServer } from "./embedded.ts";
import { describeOtherServer, saveExternalState } from "./external.ts";
import { checkApplicationLogin, readLoginPair, reconcileLogins } from "./login-pair.ts";
import { refuseOtherStack, withServerLock } from "./other-stack.ts";
import { type Confirm, confirmRepointing, confirmStoredSecret } from "./repoint.ts";
import { copySecrets } from "./secrets.ts";
import { reportSkew } from "./skew.ts";
import {
  administratorTarget,
  type BootstrapRun,
  findStack,
  ignoredServer,
  ignoresServer,
  lockForRun,
  openStack,
  type RunContext,
  type Stack,
  waitLimit,
  withSafePath,
} from "./stack.ts";
import { prepareVault } from "./vault-setup.ts";

/** The result of a bootstrap. */
export interface BootstrapResult {
  readonly mode: Mode;
  /** The application's URL, with the password masked. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly isChanged: boolean;
  readonly steps: readonly FinishedStep[];
}

/** What a bootstrap may do besides, and how it asks. */
export interface BootstrapOptions {
  /** Makes the cluster that is in the folder the one of the stack. */
  readonly adopt: boolean;
  readonly confirm: Confirm;
}

/**
 * Sets up the server, roles, database, schema and credentials. Idempotent: each step changes only what differs, so the
 * next bootstrap completes an interrupted one.
 *
 * @param options by default, refuses another cluster than the one that the stack remembers, and asks nothing
 */
export async function bootstrap(config: Config, run: RunContext, options?: BootstrapOptions): Promise<BootstrapResult> {
  const before = await findStack(config);
  const isLocal = before.mode !== "external" || before.secretsPlace === "local-vault";
  using _lock = isLocal ? await lockForRun(before, run, "bootstrap") : undefined;
  // Another command may have changed the stack before this one got the lock.
  const found = await settleCluster(await findStack(config), run, options?.adopt ? options : undefined);
  if (options !== undefined) await confirmRepointing(found, options.confirm);
  reportSkew(found.remembered, run.reporter, true);
  if (ignoresServer(found)) run.reporter.info(ignoredServer);
  const steps: FinishedStep[] = [];
  const step: BootstrapRun["step"] = async (name, work) => {
    run.signal.throwIfAborted();
    steps.push(await run.reporter.step(name, work));
  };
  const start = found.mode === "compose" ? startContainers : setUpServer;
  const application = await start(found, { ...run, step }, options?.confirm);
  if (found.mode === "compose") await applyProjectFiles(found, { ...run, step });
  return {
    mode: found.mode,
    url: maskedUrl(application),
    host: application.host,
    port: application.port,
    database: application.database,
    user: application.user,
    isChanged: steps.some(({ isChanged }) => isChanged),
    steps,
  };
}

/** @param confirm undefined to ask nothing */
async function setUpServer(found: Stack, run: BootstrapRun, confirm?: Confirm): Promise<ConnectionTarget> {
  if (found.mode === "external") await checkServer(found, run);
  const stack = await setUpSecrets(found, run);
  if (confirm !== undefined) await confirmStoredSecret(stack, confirm);
  const started = stack.mode === "embedded" ? await startEmbeddedServer(stack, run) : undefined;
  const target = started === undefined ? await administratorTarget(stack) : withSafePath(started);
  const application = await setUpDatabase(stack, { ...run, confirm }, target).catch(async (error: unknown) => {
    throw stack.mode === "embedded" ? await explainServerEnd(error, stack.dataDir) : error;
  });
  if (stack.isAdopting) await saveEmbeddedState(stack, target.port);
  return application;
}

/** Refuses a server before anything is written, even in Vault. */
async function checkServer(stack: Stack, run: RunContext): Promise<void> {
  const target = await administratorTarget(stack);
  await using connection = await connectAsAdministrator(target, stack.config, run.signal);
  await requirePrimary(connection.sql, target);
  await refuseOtherStack(stack, { sql: connection.sql, target });
}

const deleteFiles = "secrets migrate --delete-files";

/** Finds the stack again afterwards, because a new Vault has an address and credentials that it did not know before. */
async function setUpSecrets(stack: Stack, run: BootstrapRun): Promise<Stack> {
  if (stack.secretsPlace === "file") return stack;
  await run.step("vault", () => prepareVault(stack, run));
  const { remembered, isAdopting } = stack;
  const prepared = { ...(await findStack(stack.config)), remembered, ...(isAdopting ? { isAdopting } : {}) };
  if (prepared.remembered !== undefined && prepared.remembered.secrets === undefined) {
    const copied = (await copySecrets(prepared)).filter(({ outcome }) => outcome === "copied");
    run.reporter.info(`this stack now keeps its secrets in Vault (${copied.length} copied from files)`);
    if (copied.length > 0) run.reporter.warn(`the files still contain them: run ${runLine(deleteFiles)}`);
  }
  return prepared;
}

/** Without a function that asks, nothing is asked. */
type AskingRun = BootstrapRun & { readonly confirm: Confirm | undefined };

async function setUpDatabase(stack: Stack, run: AskingRun, target: ConnectionTarget): Promise<ConnectionTarget> {
  await using connection = await connectAsAdministrator(target, stack.config, run.signal);
  await requirePrimary(connection.sql, target);
  const session = await openSession(connection.sql);
  const otherServer = await describeOtherServer(stack, session.sql);
  if (otherServer !== undefined) run.reporter.warn(otherServer);
  refuseApplicationLogin(session.administrator, stack.user);
  const logins = await withServerLock(stack, run, target, async () => {
    await refuseOtherStack(stack, { sql: session.sql, target }, run.confirm);
    return await setUpRoles(stack, run, session);
  });
  await run.step("schema", () => applyPending(stack, run, target));
  // Awaited here, because the connection is closed when this function returns.
  return await setUpCredentials(stack, run, { session, target, login: logins.current });
}

async function setUpRoles(stack: Stack, run: BootstrapRun, session: AdministratorSession): Promise<LoginPair> {
  const { sql, administrator } = session;
  const logins = await readLoginPair(stack);
  await run.step("roles", async () =>
    stepResult(await reconcileLogins(session, logins, stack.config.graceMs), "up to date"),
  );
  await run.step("database", async () =>
    stepResult(await ensureDatabase(sql, administrator, stack.database), `${stack.database} is up to date`),
  );
  return logins;
}

interface CredentialsContext {
  readonly session: AdministratorSession;
  /** The server, with the administrator's login. */
  readonly target: ConnectionTarget;
  /** The login that the roles were set up for. */
  readonly login: string;
}

async function setUpCredentials(
  stack: Stack,
  run: BootstrapRun,
  { session, target, login }: CredentialsContext,
): Promise<ConnectionTarget> {
  const { database, user, config } = stack;
  const { user: _, password: __, ...server } = target;
  let application = { ...target, database, user: login, password: "" };
  await run.step("credentials", async () => {
    const local = config.localPort === undefined ? undefined : { host: "127.0.0.1", port: config.localPort };
    const endpoint = { ...server, database, username: user, local };
    const { secret, isChanged } = await ensureApplicationSecret(stack.secrets, endpoint, config.password);
    application = { ...application, user: secret.username, password: secret.password };
    // A concurrent rotation replaced the login that the roles step just repaired.
    const previous = { name: login, graceMs: config.graceMs };
    if (secret.username !== login) await ensureRoles(session.sql, session.administrator, secret.username, previous);
    const isPasswordSet = await reconcilePassword(session.sql, session.administrator, application);
    const set = isPasswordSet ? [`set ${secret.username}'s password`] : [];
    return stepResult(
      [...(isChanged ? ["wrote the secret"] : []), ...set],
      `${secret.username} has the password of the secret`,
    );
  });
  await run.step("login", () => checkApplicationLogin(application));
  if (stack.mode === "external") {
    await saveExternalState(stack, session.sql);
  }
  return application;
}

/** The init container has applied the files of this package; it does not have those of the project. */
async function applyProjectFiles({ config }: Stack, run: BootstrapRun): Promise<void> {
  if ((await readSchema(config.sqlDir, "app")).length === 0) return;
  const running = await openStack({ ...config, mode: "compose" });
  await run.step("schema", async () => applyPending(running, run, await administratorTarget(running)));
}

async function applyPending(stack: Stack, run: RunContext, target: ConnectionTarget): Promise<StepResult> {
  const { applied, total } = await applySchema(
    { ...target, database: stack.database },
    {
      ...waitLimit(stack, run),
      files: await readAllFiles(stack.config.sqlDir),
      onWait: (holder) => run.reporter.info(`waiting for ${holder}, which is changing the schema`),
      onBlocked: (text) => run.reporter.info(text),
      onApplied: (name) => run.reporter.verbose(`applied ${name}`),
      onNotice: (text) => run.reporter.warn(text),
    },
  );
  return stepResult(
    applied.length === 0 ? [] : [`applied ${applied.length} of ${total} files`],
    `${total} files applied`,
  );
}

/** Connects to another database if the application's does not exist yet, in order to create it. */
async function connectAsAdministrator(
  target: ConnectionTarget,
  { localPort }: Config,
  signal: AbortSignal,
): Promise<Connection> {
  const candidates = [target.database, ...maintenanceDatabases];
  try {
    return await connectForMaintenance(target, {
      candidates,
      applicationName: "cqrs-postgres bootstrap",
      signal,
    });
  } catch (error) {
    const isInit = localPort !== undefined;
    throw isInit && error instanceof ScriptError && error.code === "AUTHENTICATION" ? staleVolume(error) : error;
  }
}

/** The init container reads the password from the keys volume, which may be newer than the data volume. */
function staleVolume({ code, exitCode, message, why }: ScriptError): ScriptError {
  const name = environment()["COMPOSE_PROJECT_NAME"] ?? "cqrs";
  return new ScriptError({
    code,
    exitCode,
    message,
    why: `${why}\nThe data volume is older than the keys volume, which contains another password.`,
    fix: `Run docker compose -p ${name} exec -T postgres sh /superuser-password.sh`,
  });
}

function stepResult(changes: readonly string[], unchanged: string): StepResult {
  return { isChanged: changes.length > 0, detail: changes.length > 0 ? changes.join(", ") : unchanged };
}
