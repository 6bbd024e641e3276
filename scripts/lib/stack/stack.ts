import { join } from "node:path";
import type { Reporter } from "../cli/reporter.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Config, type Mode, reservedDatabases, wrongSettings } from "../config.ts";
import type { ConnectionTarget } from "../postgres/connect.ts";
import { superuser } from "../postgres/server/cluster.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import {
  type ApplicationSecret,
  applicationSecretKeys,
  requireKey,
  secretPaths,
} from "../secrets/application-secret.ts";
import type { SecretStore } from "../secrets/store.ts";
import { readComposeSettings } from "./compose/settings.ts";
import { lockStack } from "./lock.ts";
import { openFileStore, openSecretStore, type SecretsPlace, type SecretsUser, secretsPlace } from "./secret-store.ts";
import { readState, type StackState } from "./state.ts";

/** What every script that touches a stack needs while it runs. */
export interface RunContext {
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

/** A stack: the configuration together with what an earlier bootstrap remembered. */
export interface Stack {
  readonly config: Config;
  readonly mode: Mode;
  readonly stackDir: string;
  /** The embedded server's data directory. */
  readonly dataDir: string;
  readonly database: string;
  readonly user: string;
  readonly remembered: StackState | undefined;
  readonly secretsPlace: SecretsPlace;
  /** The application's credentials. */
  readonly secrets: SecretStore;
  /** The superuser's password; always in files, so that an emptied Vault locks nobody out. */
  readonly superuserSecrets: SecretStore;
}

const defaults = { mode: "embedded", database: "cqrs_db", user: "cqrs_user" } as const;

/**
 * Finds out which stack the configuration is about; changes nothing.
 *
 * @param user as whom the secret store is used
 */
export async function openStack(given: Config, user: SecretsUser = "script"): Promise<Stack> {
  const remembered = await readState(given.stackDir);
  const mode = given.mode ?? remembered?.mode ?? defaults.mode;
  const config = mode === "compose" ? await readComposeSettings(given, remembered) : given;
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
 * Takes the lock of a stack for a run; whoever has to wait is told for whom.
 *
 * @throws {ScriptError} `LOCKED` (exit 5)
 */
export function lockForRun(stack: Stack, command: string, { reporter, signal }: RunContext): Promise<Disposable> {
  return lockStack(stack.stackDir, {
    command,
    timeoutMs: stack.config.timeoutMs,
    signal,
    onWait: (holder) => reporter.info(`waiting for ${holder}, which is using this stack`),
  });
}

/**
 * Finds the server of a stack, as its administrator.
 *
 * @throws {ScriptError} `NOT_RUNNING` or `SECRETS_MISSING` (exit 3), or `CONFIGURATION` (exit 2) for an external server nobody named
 */
export async function administratorTarget(stack: Stack): Promise<ConnectionTarget> {
  if (stack.mode === "compose" && stack.config.externalServer === undefined) throw notRunning(stack);
  if (stack.mode !== "embedded") return externalTarget(stack);
  const found = await findPostmaster(stack.dataDir);
  const secret = await stack.superuserSecrets.read(secretPaths.superuser);
  if (found.state !== "running") throw notRunning(stack);
  if (secret === undefined) throw secretMissing(secretPaths.superuser);
  const password = requireKey(secret.data, "password", secretPaths.superuser);
  return { host: "127.0.0.1", port: found.port, database: stack.database, user: superuser, password };
}

/**
 * Reads the application's credentials.
 *
 * @throws {ScriptError} `SECRETS_MISSING` (exit 3) when no bootstrap has made them
 */
export async function readApplicationSecret(stack: Stack): Promise<ApplicationSecret> {
  const isLocal = stack.config.applicationSecret === "database-local";
  const path = isLocal ? secretPaths.applicationLocal : secretPaths.application;
  const secret = await stack.secrets.read(path);
  if (secret === undefined) throw secretMissing(path);
  for (const key of applicationSecretKeys) requireKey(secret.data, key, path);
  return secret.data as ApplicationSecret;
}

/** The database of DATABASE_URL is the one that is meant, unless it is one that administrators log in to. */
function databaseOfUrl({ externalServer }: Config, mode: Mode): string | undefined {
  const name = mode === "external" ? externalServer?.database : undefined;
  return name === undefined || reservedDatabases.includes(name) ? undefined : name;
}

/** @returns the error of a script that needs a bootstrapped, running stack */
export function notRunning(stack: Stack, data?: unknown): ScriptError {
  return new ScriptError({
    code: "NOT_RUNNING",
    exitCode: exitCodes.notReady,
    message: "PostgreSQL is not running",
    why: stack.mode === "compose" ? "Its container does not run." : `No server of ours serves ${stack.dataDir}.`,
    fix: "bun run bootstrap",
    data,
  });
}

/** @returns the error of a secret that no bootstrap has made */
export function secretMissing(path: string): ScriptError {
  return new ScriptError({
    code: "SECRETS_MISSING",
    exitCode: exitCodes.notReady,
    message: `There is no secret ${path}`,
    why: "The secret store was never filled, or was emptied; the server and its data are not touched by that.",
    fix: "bun run bootstrap makes new credentials and brings the server into line with them.",
  });
}

function externalTarget({ config, database }: Stack): ConnectionTarget {
  if (config.externalServerProblems.length > 0) throw wrongSettings(config.externalServerProblems);
  const server = config.externalServer;
  if (server !== undefined) return { ...server, database };
  throw new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: "The external server is not named",
    why: "Neither DATABASE_URL nor PGHOST is set, and credentials of a server are never remembered.",
    fix: "Set DATABASE_URL, or PGHOST, PGUSER and PGPASSWORD, for a login that may create roles and databases.",
  });
}
