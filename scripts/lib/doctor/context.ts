import { formatSeconds } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Config } from "../config.ts";
import { type Connection, openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { connectionFailure } from "../postgres/failure.ts";
import { readAdministrator } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { type AdministratorSession, openSession, withAdministrator } from "../stack/administrator.ts";
import { bootstrap } from "../stack/bootstrap.ts";
import { checkCluster } from "../stack/cluster-problem.ts";
import { describeOtherServer } from "../stack/external.ts";
import { findOtherVault } from "../stack/secret-store.ts";
import { administratorTarget, findStack, type RunContext, type Stack } from "../stack/stack.ts";
import { once } from "../verify/check.ts";
import { defaultLimits, type VerifyLimits } from "../verify/context.ts";
import type { Finding, Repair } from "./finding.ts";
import { findOwnStack } from "./own-stack.ts";

/** From which value on something counts as a problem; the rest is as in `verify`. */
export interface DoctorLimits extends VerifyLimits {
  /** Free space for temporary files, backups and state, at least. */
  readonly minFreeTempBytes: number;
  /** Room for new files on a file system with a limit, at least. */
  readonly minFreeFiles: number;
  /** How long a transaction may hold a lock that others wait for. */
  readonly maxBlockedSeconds: number;
  /** How long the server may take to answer. */
  readonly connectTimeoutSeconds: number;
  /** How long one area may take. */
  readonly probeTimeoutMs: number;
}

export const doctorLimits: DoctorLimits = {
  ...defaultLimits,
  minFreeTempBytes: 100e6,
  minFreeFiles: 1_000,
  maxBlockedSeconds: 10,
  connectTimeoutSeconds: 3,
  probeTimeoutMs: 10_000,
};

/** The administrator's session, in which PostgreSQL refuses to write. */
export interface ServerSession {
  readonly sql: Sql;
  readonly target: ConnectionTarget;
}

/** What the probes share. Each function does its work once. */
export interface DoctorContext {
  /** For repairs, which run after the areas. */
  readonly run: RunContext;
  /** Aborted when the area has ended, or has taken too long. */
  readonly signal: AbortSignal;
  readonly limits: DoctorLimits;
  readonly config: Config;
  /**
   * The stack, whose cluster may be another one than it remembers.
   *
   * @throws {ScriptError} if the state file or the settings of the containers cannot be read
   */
  readonly stack: () => Promise<Stack>;
  /**
   * A session on the server, which is opened only if the cluster is the one of the stack.
   *
   * @throws {ScriptError} why there is none
   */
  readonly server: () => Promise<ServerSession>;
  /** Whether an error is that of {@link stack} or {@link server}, which the areas files and server explain. */
  readonly hasShared: (error: unknown) => boolean;
}

/** One area that is looked at. A ScriptError that it throws is a finding; any other makes it count as not checked. */
export interface Probe {
  readonly area: string;
  find(context: DoctorContext): Promise<readonly Finding[]>;
}

/** The code of the error if Docker does not answer. */
export const dockerHangs = "DOCKER_TIMEOUT";

const applicationName = "cqrs-postgres doctor";
const restrictions = "set default_transaction_read_only = on; set lock_timeout = '500ms'; set statement_timeout = '5s'";

/** Opens what the probes use, and closes it. */
export async function withDoctorContext<Result>(
  config: Config,
  run: RunContext,
  limits: DoctorLimits,
  work: (context: DoctorContext) => Promise<Result>,
): Promise<Result> {
  const closing = new AbortController();
  const signal = AbortSignal.any([run.signal, closing.signal]);
  const opened: Connection[] = [];
  const shared = new Set<unknown>();
  const share = (error: unknown) => {
    shared.add(error);
    throw error;
  };
  const stack = once(() => findInTime(config, signal, limits.probeTimeoutMs).catch(share));
  const server = once(async () => openServer(await stack(), { ...limits, signal }, opened).catch(share));
  try {
    return await work({ run, signal, limits, config, stack, server, hasShared: (error) => shared.has(error) });
  } finally {
    // A server that hangs does not answer a request to end the session.
    closing.abort();
    for (const connection of opened) await connection[Symbol.asyncDispose]();
  }
}

/** Only Docker can make it wait. */
async function findInTime(config: Config, signal: AbortSignal, timeoutMs: number): Promise<Stack> {
  const limit = AbortSignal.timeout(timeoutMs);
  try {
    return await findOwnStack(config, AbortSignal.any([signal, limit]));
  } catch (error) {
    if (signal.aborted || !limit.aborted) throw error;
    throw new ScriptError({
      code: dockerHangs,
      exitCode: exitCodes.timeout,
      message: "Docker Engine does not answer",
      why: `docker compose ps did not end within ${formatSeconds(timeoutMs / 1000)}.`,
      fix: "Restart it (sudo systemctl restart docker, or Docker Desktop).",
    });
  }
}

async function openServer(
  stack: Stack,
  { signal, connectTimeoutSeconds }: Pick<DoctorLimits, "connectTimeoutSeconds"> & { readonly signal: AbortSignal },
  opened: Connection[],
): Promise<ServerSession> {
  await checkCluster(stack);
  const target = await administratorTarget(stack);
  const connection = openConnection(target, { applicationName, connectTimeoutSeconds, signal });
  opened.push(connection);
  try {
    const { sql } = await openSession(connection.sql);
    await sql.unsafe(restrictions).simple();
    return { sql, target };
  } catch (error) {
    if (connectionFailure(error) === "no-database") await checkVersion(target, signal);
    throw explainConnectionError(error, target);
  }
}

/** @throws {ScriptError} `SERVER_VERSION` (exit 9), which explains more than a missing database */
async function checkVersion(target: ConnectionTarget, signal: AbortSignal): Promise<void> {
  await using connection = await connectForMaintenance(target, { applicationName, signal });
  await readAdministrator(connection.sql);
}

/** @returns the repair that runs `bootstrap` */
export function bootstrapRepair({ config, run }: DoctorContext): Repair {
  return {
    description: "runs bootstrap, which sets up the server, schema and credentials again; data stays",
    changesStack: true,
    run: () => bootstrapAsBefore(config, run),
  };
}

/**
 * Runs `bootstrap`, but refuses what it would ask about, and another mode, secret store or external server.
 *
 * @throws {ScriptError} `REFUSED` (exit 8), `OTHER_SERVER` (exit 3), and those of `bootstrap`
 */
export async function bootstrapAsBefore(config: Config, run: RunContext): Promise<void> {
  const stack = await findStack(config);
  const moves = describeMoves(stack);
  if (moves.length > 0) throw refused(moves.join("; "));
  if (stack.mode === "external" && stack.remembered !== undefined) await onOwnServer(stack, run, async () => {});
  const confirm = async ({ plan }: { readonly plan: string }) => {
    throw refused(plan.replaceAll("\n", "; "));
  };
  await bootstrap(config, run, { adopt: false, confirm });
}

function describeMoves(stack: Stack): string[] {
  const { mode, remembered, secretsPlace } = stack;
  if (remembered === undefined) return [];
  const other = findOtherVault(stack);
  if (other !== undefined) return [`uses another Vault: ${other.given}`];
  if (mode !== remembered.mode) return [`changes the mode from ${remembered.mode} to ${mode}`];
  const known = remembered.secrets ?? "file";
  return mode === "compose" || known === secretsPlace ? [] : [`moves the secrets from ${known} to ${secretsPlace}`];
}

function refused(plan: string): ScriptError {
  return new ScriptError({
    code: "REFUSED",
    exitCode: exitCodes.refused,
    message: `bootstrap was not run, because with these settings it ${plan}`,
    fix: `Correct the settings, or run ${runLine("bootstrap")}, which asks.`,
  });
}

/**
 * Does work in an administrator's session, if the server is the one that the stack remembers.
 *
 * @throws {ScriptError} `OTHER_SERVER` (exit 3), and those of the connection
 */
export async function onOwnServer(
  stack: Stack,
  run: RunContext,
  work: (session: AdministratorSession, target: ConnectionTarget) => Promise<void>,
): Promise<void> {
  await checkCluster(stack);
  await withAdministrator(stack, run, applicationName, async (session, target) => {
    const other = await describeOtherServer(stack, session.sql);
    if (other !== undefined) throw otherServer(other);
    await work(session, target);
  });
}

function otherServer(difference: string): ScriptError {
  return new ScriptError({
    code: "OTHER_SERVER",
    exitCode: exitCodes.notReady,
    message: `Nothing was changed, because ${difference}`,
    fix: `Correct DATABASE_URL or PGHOST and PGPORT, or run ${runLine("bootstrap")}.`,
  });
}
