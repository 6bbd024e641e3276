import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { usageError } from "../cli/errors.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Config, ExternalServer } from "../config.ts";
import type { ConnectionTarget, SessionTarget } from "../postgres/target.ts";
import type { SessionCheck } from "../wait/postgres.ts";
import { type Finding, notYet, usable, type WaitTarget } from "../wait/target.ts";

// Each target loads its own modules, so that waiting for a port does not load the driver.

const forms = "postgres | schema | vault | postgres://… | vault://… | tcp://host:port | http(s)://… | file:path";

/** What the words of the command line do not say. */
export interface TargetOptions {
  /** The condition that a database must meet; by default, a successful login is enough. */
  readonly query?: string | undefined;
  /** The folder of the project. */
  readonly project?: string | undefined;
}

/**
 * Parses a word of the command line into a target to wait for.
 *
 * @throws {ScriptError} `USAGE`, `CONFIGURATION` or `NO_PROJECT` (exit 2)
 */
export async function findTarget(word: string, { query, project }: TargetOptions = {}): Promise<WaitTarget> {
  if (word === "postgres") return configuredTarget(word, await sessionCheck(query), project);
  if (word === "schema") return configuredTarget(word, await schemaCheck(project), project);
  if (word === "vault") return configuredVault(project);
  if (/^file:./.test(word)) return fileTargetOf(word);
  const url = URL.canParse(word) ? new URL(word) : undefined;
  const make = url === undefined ? undefined : schemes[url.protocol];
  if (url === undefined || make === undefined || url.hostname === "") {
    throw usageError(`Cannot wait for ${JSON.stringify(hidePassword(word))}`, `Write one of: ${forms}.`);
  }
  return make(url, query);
}

const schemes: Readonly<Record<string, (url: URL, query: string | undefined) => Promise<WaitTarget>>> = {
  "postgres:": postgresTargetOf,
  "postgresql:": postgresTargetOf,
  "tcp:": tcpTargetOf,
  "http:": async (url) => (await import("../wait/http.ts")).httpTarget(url),
  "https:": async (url) => (await import("../wait/http.ts")).httpTarget(url),
  "vault:": (url) => vaultTargetOf(url.href.replace(/^vault:/, "http:")),
  "vault+https:": (url) => vaultTargetOf(url.href.replace(/^vault\+https:/, "https:")),
};

async function tcpTargetOf(url: URL): Promise<WaitTarget> {
  const port = Number(url.port);
  if (port === 0) throw usageError(`${url.href} has no port`, "Write tcp://host:port.");
  const { tcpTarget } = await import("../wait/tcp.ts");
  return tcpTarget({ host: url.hostname.replace(/^\[|\]$/g, ""), port });
}

/** Reads the URL like DATABASE_URL; a missing password comes from PGPASSWORD or PGPASSWORD_FILE. */
async function postgresTargetOf(url: URL, query: string | undefined): Promise<WaitTarget> {
  const { parseServerUrl } = await import("../config.ts");
  const { environment } = await import("../runtime.ts");
  const { postgresTarget } = await import("../wait/postgres.ts");
  return postgresTarget(withDatabase(parseServerUrl(url.href, environment())), await sessionCheck(query));
}

/** Like libpq: the database defaults to the login's name. */
function withDatabase(server: ExternalServer): ConnectionTarget {
  return { ...server, database: server.database ?? server.user };
}

async function vaultTargetOf(address: string): Promise<WaitTarget> {
  return (await import("../wait/vault.ts")).vaultTarget(new URL(address));
}

async function fileTargetOf(word: string): Promise<WaitTarget> {
  const { fileTarget } = await import("../wait/file.ts");
  return fileTarget(word.startsWith("file://") ? fileURLToPath(word) : resolve(word.slice("file:".length)));
}

async function configuredVault(project: string | undefined): Promise<WaitTarget> {
  const { loadConfig, wrongSettings } = await import("../config.ts");
  const { vault, externalServerProblems } = loadConfig({ project });
  if (externalServerProblems.length > 0) throw wrongSettings(externalServerProblems);
  if (vault === undefined) throw usageError("No Vault is configured", "Set VAULT_ADDR, or write vault://host:port.");
  const { vaultTarget } = await import("../wait/vault.ts");
  return vaultTarget(new URL(vault.address), { caCertFile: vault.caCertFile });
}

/** The stack's database and the application's login. Each probe opens the stack, which a bootstrap may be creating. */
async function configuredTarget(name: string, check: SessionCheck, project: string | undefined): Promise<WaitTarget> {
  const { loadConfig } = await import("../config.ts");
  const { probePostgres } = await import("../wait/postgres.ts");
  const config = loadConfig({ project });
  return {
    name,
    async probe(signal) {
      const found = await findServer(config).catch(toNotReady);
      if ("isUsable" in found) return found;
      const finding = await probePostgres(found.server, check, signal).catch(toMissingLogin);
      const canStart = !(finding.isUsable || found.isExternal) && finding.isUnreachable === true;
      return canStart ? { ...finding, fix: `Run ${runLine("bootstrap")}, which starts the server.` } : finding;
    },
  };
}

interface ServerToWaitFor {
  readonly server: SessionTarget;
  /** Whether the server is one that bootstrap cannot start. */
  readonly isExternal: boolean;
}

async function findServer(config: Config): Promise<ServerToWaitFor> {
  const { administratorTarget, applicationTarget, checkOwnServer, openStack } = await import("./stack.ts");
  const stack = await openStack(config);
  if (stack.mode === "external") return { server: await administratorTarget(stack), isExternal: true };
  const server = await applicationTarget(stack);
  await checkOwnServer(stack, server);
  return { server, isExternal: false };
}

function toNotReady(error: unknown) {
  if (error instanceof ScriptError && error.exitCode === exitCodes.notReady) return notYet(error.message, error.fix);
  throw error;
}

/** A bootstrap writes the secret before it sets the password; until then, the server rejects the login. */
function toMissingLogin(error: unknown): Finding {
  const isRefused = error instanceof ScriptError && error.exitCode === exitCodes.authentication;
  if (isRefused) return { isUsable: false, reason: error.why ?? error.message, isMissing: true };
  throw error;
}

async function sessionCheck(query = "select true"): Promise<SessionCheck> {
  return (await import("../wait/postgres.ts")).queryCheck(query);
}

/** @throws {ScriptError} `SCHEMA_DRIFT` (exit 4) */
async function schemaCheck(project: string | undefined): Promise<SessionCheck> {
  const { loadConfig } = await import("../config.ts");
  const { readPlan } = await import("../schema/apply.ts");
  const { readAllFiles } = await import("../schema/source.ts");
  const { sqlDir } = loadConfig({ project });
  return async (sql) => {
    const { pending } = await readPlan(sql, await readAllFiles(sqlDir));
    if (pending.length === 0) return usable;
    return notYet(`schema files not applied yet: ${pending.length}`, `Run ${runLine("schema apply")}.`);
  };
}

function hidePassword(word: string): string {
  return word.replace(/(\/\/[^/@]*?):[^/]*@/, "$1:****@");
}
