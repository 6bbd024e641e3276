import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Reporter, StepResult } from "../cli/reporter.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Config, type Mode, reservedDatabases, wrongSettings } from "../config.ts";
import { superuser } from "../postgres/server/cluster.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import type { ConnectionTarget, SessionTarget } from "../postgres/target.ts";
import type { WaitLimit } from "../retry.ts";
import {
  type ApplicationSecret,
  applicationSecretKeys,
  requireKey,
  secretPaths,
  tlsOfSecret,
} from "../secrets/application-secret.ts";
import type { SecretStore, SecretVersion } from "../secrets/store.ts";
import type { TlsSettings } from "../server-url.ts";
import { tlsModes } from "../tls-mode.ts";
import { checkCluster } from "./cluster-problem.ts";
import { readComposeSettings } from "./compose/settings.ts";
import { readOwnPort } from "./identity.ts";
import { lockStack } from "./lock.ts";
import { openFileStore, openSecretStore, type SecretsPlace, type SecretsUser, secretsPlace } from "./secret-store.ts";
import { readState, type StackState } from "./state.ts";

/** A running script: where it reports progress, and what cancels it. */
export interface RunContext {
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

/** A running bootstrap. */
export interface BootstrapRun extends RunContext {
  /** Runs one step and records its result. */
  readonly step: (name: string, work: () => Promise<StepResult>) => Promise<void>;
}

/** A stack: the configuration, completed by the state that the last bootstrap saved. */
export interface Stack {
  readonly config: Config;
  readonly mode: Mode;
  readonly stackDir: string;
  /** The embedded server's data directory. */
  readonly dataDir: string;
  readonly database: string;
  readonly user: string;
  readonly remembered: StackState | undefined;
  /** Whether a bootstrap is making another cluster the one of the stack. */
  readonly isAdopting?: true;
  readonly secretsPlace: SecretsPlace;
  /** The application's credentials. */
  readonly secrets: SecretStore;
  /** The superuser's password. Always in files, so that losing Vault does not lock anyone out. */
  readonly superuserSecrets: SecretStore;
}

const defaults = { mode: "embedded", database: "cqrs_db", user: "cqrs_user" } as const;

/**
 * Finds the stack that the configuration refers to, and checks that its cluster is the one that it remembers. Changes
 * nothing.
 *
 * @param user who reads the secret store
 * @throws {ScriptError} `CLUSTER_SHARED` (exit 9), `CLUSTER_GONE` or `OTHER_CLUSTER` (exit 8)
 */
export async function openStack(given: Config, user: SecretsUser = "script"): Promise<Stack> {
  const stack = await findStack(given, user);
  await checkCluster(stack);
  return stack;
}

/**
 * Finds the stack without checking its cluster, for commands that use only the folder itself.
 *
 * @param signal ends the questions to Docker
 */
export async function findStack(given: Config, user: SecretsUser = "script", signal?: AbortSignal): Promise<Stack> {
  const remembered = await readState(given.stackDir);
  const mode = given.mode ?? remembered?.mode ?? defaults.mode;
  const config = mode === "compose" ? await readComposeSettings(given, remembered, signal) : given;
  const place = secretsPlace(config, remembered);
  return {
    config,
    mode,
    stackDir: config.stackDir,
    dataDir: join(config.stackDir, "postgres/data"),
    database: config.database ?? databaseOfUrl(config, mode) ?? remembered?.database ?? defaults.database,
    user: config.user ?? remembered?.user ?? defaults.user,
    remembered,
    secretsPlace: place,
    secrets: openSecretStore(place, config, remembered, user),
    superuserSecrets: openFileStore(config),
  };
}

/**
 * Takes the lock of a stack; while it waits, it reports who holds the lock.
 *
 * @throws {ScriptError} `LOCKED` (exit 5)
 */
export function lockForRun(stack: Stack, { reporter, signal }: RunContext, command: string): Promise<Disposable> {
  return lockStack(stack.stackDir, {
    command,
    timeoutMs: stack.config.timeoutMs,
    signal,
    onWait: (holder) => reporter.info(`waiting for ${holder}, which is using this stack`),
  });
}

/** @returns the time limit of each wait, and what cancels it */
export function waitLimit({ config }: Stack, { signal }: RunContext): WaitLimit & Pick<RunContext, "signal"> {
  return { timeoutMs: config.timeoutMs, signal };
}

/**
 * Finds the server and database of a stack, with the administrator's login.
 *
 * @throws {ScriptError} `NOT_RUNNING`, `SECRETS_MISSING` (exit 3); `CONFIGURATION` (exit 2) without an external server
 */
export async function administratorTarget(stack: Stack): Promise<SessionTarget> {
  return withSafePath(await readAdministratorTarget(stack));
}

/**
 * The application and the migrations of a project create functions in the schemas of the database's search path. One
 * whose arguments fit better than those of a built-in function would be called in its place, with the privileges of the
 * administrator.
 */
export function withSafePath(administrator: SessionTarget): SessionTarget {
  return { ...administrator, searchPath: "pg_catalog" };
}

async function readAdministratorTarget(stack: Stack): Promise<SessionTarget> {
  if (stack.mode === "compose" && stack.config.externalServer === undefined) throw notRunning(stack);
  if (stack.mode !== "embedded") return externalTarget(stack);
  const found = await findPostmaster(stack.dataDir);
  if (found.state !== "running") throw notRunning(stack);
  const { data } = await requireSecret(stack.superuserSecrets, secretPaths.superuser);
  const password = requireKey(data, "password", secretPaths.superuser);
  return {
    host: "127.0.0.1",
    port: found.port,
    database: stack.database,
    user: superuser,
    password,
    requireScram: true,
  };
}

/** @returns the path of the application's secret that CQRS_SECRET selects */
export function applicationSecretPath({ config }: Stack): string {
  return config.applicationSecret === "database-local" ? secretPaths.applicationLocal : secretPaths.application;
}

/**
 * Reads the application's credentials.
 *
 * @throws {ScriptError} `SECRETS_MISSING` (exit 3)
 */
export async function readApplicationSecret(stack: Stack): Promise<ApplicationSecret> {
  const path = applicationSecretPath(stack);
  const { data } = await requireSecret(stack.secrets, path);
  for (const key of applicationSecretKeys) requireKey(data, key, path);
  return data as ApplicationSecret;
}

/**
 * Reads the application's credentials and the address of its server.
 *
 * @throws {ScriptError} `SECRETS_MISSING` (exit 3), `SECRETS_UNUSABLE` or `CONFIGURATION` (exit 2)
 */
export async function applicationTarget(stack: Stack): Promise<SessionTarget & { readonly password: string }> {
  const secret = await readApplicationSecret(stack);
  const { host, port, database, username: user, password } = secret;
  const target = { host, port: Number(port), database, user, password, ...applicationTls(stack, secret) };
  return isOwnAddress(stack, target) ? { ...target, requireScram: true } : target;
}

/**
 * Checks, before credentials are sent, that a server of this host is the one of this stack's own data directory: the
 * secret of a copied stack leads to the server of the original. Checks nothing if the stack is not in this folder, as
 * for an application on another machine.
 *
 * @throws {ScriptError} `NOT_RUNNING` or `OTHER_SERVER` (exit 3), and those of {@link openStack}
 */
export async function checkOwnServer(stack: Stack, { host, port }: Pick<ConnectionTarget, "host" | "port">) {
  if (!isOwnHost(stack, host)) return;
  await checkCluster(stack);
  const own = await readOwnPort(stack.dataDir);
  const isExpected = own !== undefined && (own === port || isPooler(stack, port));
  if (isExpected) return;
  if (await hasLostPidFile(stack)) throw pidFileLost(stack);
  throw own === undefined ? notRunning(stack) : otherServer(port, own);
}

async function hasLostPidFile({ dataDir }: Stack): Promise<boolean> {
  const found = await findPostmaster(dataDir);
  return found.state === "running" && found.hasLostPidFile;
}

function pidFileLost({ dataDir }: Stack): ScriptError {
  return new ScriptError({
    code: "NOT_RUNNING",
    exitCode: exitCodes.notReady,
    message: "PostgreSQL is about to shut down",
    why: `The postmaster.pid of ${dataDir} was removed or replaced, which the server notices within a minute.`,
    fix: `Run ${runLine("stop")} && ${runLine("bootstrap")}, which loses no data.`,
  });
}

/** Whether an address is that of this stack's own server, which demands SCRAM from every client. */
function isOwnAddress(stack: Stack, { host, port }: Pick<ConnectionTarget, "host" | "port">): boolean {
  return isOwnHost(stack, host) && !isPooler(stack, port);
}

function isOwnHost({ mode, remembered, dataDir }: Stack, host: string): boolean {
  // An application in a container has neither: its secret comes from Vault.
  const isHere = remembered !== undefined || existsSync(dataDir);
  return mode === "embedded" && isHere && host === "127.0.0.1";
}

function isPooler({ remembered, config }: Stack, port: number): boolean {
  return port === remembered?.localPort || port === config.localPort;
}

function otherServer(port: number, own: number): ScriptError {
  return new ScriptError({
    code: "OTHER_SERVER",
    exitCode: exitCodes.notReady,
    message: `The server of this stack listens on port ${own}, but the secret names port ${port}`,
    why: "Another server may be listening there, so the credentials were not sent.",
    fix: `Run ${runLine("bootstrap")}, which writes the secret again.`,
  });
}

/**
 * The application may run on another machine than bootstrap, or TLS may have been set up since. So its own environment
 * can name another root certificate and a stricter mode than the secret, but not a less strict one.
 */
function applicationTls({ mode, config }: Stack, secret: ApplicationSecret): TlsSettings {
  const stored = tlsOfSecret(secret, secretPaths.application);
  if (mode !== "external") return stored;
  if (config.externalServerProblems.length > 0) throw wrongSettings(config.externalServerProblems);
  const strictest = tlsModes.findLast((tls) => tls === stored.tls || tls === config.externalTls.tls);
  return { ...stored, ...config.externalTls, ...(strictest === undefined ? {} : { tls: strictest }) };
}

/** @throws {ScriptError} `SECRETS_MISSING` (exit 3) */
export async function requireSecret(store: SecretStore, path: string): Promise<SecretVersion> {
  const secret = await store.read(path);
  if (secret !== undefined) return secret;
  const { location } = await store.status();
  throw new ScriptError({
    code: "SECRETS_MISSING",
    exitCode: exitCodes.notReady,
    message: `There is no secret ${path}`,
    why: `The secret store ${location} was never initialised, or it was emptied. The server and its data are not affected.`,
    fix: `Run ${runLine("bootstrap")}, which creates new credentials and sets them on the server.`,
  });
}

/** DATABASE_URL also determines the application's database, unless it contains one for maintenance. */
function databaseOfUrl({ externalServer }: Config, mode: Mode): string | undefined {
  const name = mode === "external" ? externalServer?.database : undefined;
  return name === undefined || reservedDatabases.includes(name) ? undefined : name;
}

/** Whether the configuration describes a server that a stack does not use, although nobody has chosen its mode yet. */
export function ignoresServer({ config, mode, remembered }: Stack): boolean {
  return (
    mode === "embedded" && config.mode === undefined && remembered === undefined && config.externalServer !== undefined
  );
}

/** What a user is told of such a server. */
export const ignoredServer: string = `DATABASE_URL and the PG* variables are ignored; to use that server, run ${runLine("bootstrap")} --mode external.`;

/** @returns the error of a script that needs a running stack (exit 3) */
export function notRunning(stack: Stack, data?: unknown): ScriptError {
  return new ScriptError({
    code: "NOT_RUNNING",
    exitCode: exitCodes.notReady,
    message: "PostgreSQL is not running",
    why: [
      stack.mode === "compose" ? "Its container is not running." : `No server is running on ${stack.dataDir}.`,
      ...(ignoresServer(stack) ? [ignoredServer] : []),
    ].join("\n"),
    fix: `Run ${runLine("bootstrap")}, which starts the server.`,
    data,
  });
}

function externalTarget({ config, database }: Stack): ConnectionTarget {
  if (config.externalServerProblems.length > 0) throw wrongSettings(config.externalServerProblems);
  const server = config.externalServer;
  if (server !== undefined) return { ...server, database };
  throw new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: "No external server is configured",
    why: "None of CQRS_ADMIN_URL, DATABASE_URL and PGHOST is set, and a stack does not store the credentials of an external server.",
    fix: "Set CQRS_ADMIN_URL or DATABASE_URL, or PGHOST, PGUSER and PGPASSWORD, to a login that can create roles and databases.",
  });
}
