import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Config, Mode } from "../config.ts";
import type { HorizonHolder } from "../event-store/projection/progress.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import { type ConnectionTarget, connectionUrl, maskedUrl } from "../postgres/target.ts";
import { readPlan } from "../schema/apply.ts";
import { readAllFiles } from "../schema/source.ts";
import { demandsTls } from "../server-url.ts";
import { checkServedFolder } from "../stack/adopt.ts";
import { pidFileNote, sharedNote } from "../stack/cluster-problem.ts";
import { describeOtherServer } from "../stack/external.ts";
import { isClusterShared } from "../stack/identity.ts";
import { findLogin } from "../stack/login-pair.ts";
import type { SecretsPlace } from "../stack/secret-store.ts";
import { describeSkew } from "../stack/skew.ts";
import { administratorTarget, applicationTarget, notRunning, openStack, type Stack } from "../stack/stack.ts";
import { readLogHolder } from "./log-holder.ts";
import { readLogProblems } from "./log-problems.ts";

/** The state of a stack. Fields that are unknown while the server is stopped are null. */
export interface StackStatus {
  /** The folder of the project that the stack belongs to. */
  readonly projectDir: string;
  readonly mode: Mode;
  readonly isRunning: boolean;
  /** The server's version: `16.14`. */
  readonly version: string | null;
  /** The application's URL, with the password masked. */
  readonly url: string | null;
  readonly pid: number | null;
  readonly port: number | null;
  /** The embedded server's data directory. */
  readonly dataDirectory: string | null;
  /** Size of the database in bytes. */
  readonly sizeBytes: number | null;
  readonly uptimeSeconds: number | null;
  /** Number of schema files that are not applied; null if the schema has drifted. */
  readonly pendingMigrations: number | null;
  /** What is wrong with the schema; null if it has not drifted. */
  readonly schemaProblem: string | null;
  /** Why readers may have seen events that are gone, or may see events that a crash takes back; empty if neither. */
  readonly logProblems: readonly string[] | null;
  /** The transaction that keeps readers from stored events; null if there is none. */
  readonly logHolder: HorizonHolder | null;
  readonly secrets: SecretsState;
  /** The newest version of this package that has set up the stack; null if unknown. */
  readonly setUpBy: string | null;
  /** What is odd about the stack: another version or server than the last bootstrap's, or files with hard links. */
  readonly stackProblems: readonly string[];
}

/** Where the application's credentials are, and whether the store is ready. */
export interface SecretsState {
  readonly place: SecretsPlace;
  readonly location: string;
  readonly isReady: boolean;
}

/** Variables that PostgreSQL clients use to connect to the database, including the password. */
export type ClientEnvironment = Readonly<
  Record<"DATABASE_URL" | "PGHOST" | "PGPORT" | "PGUSER" | "PGPASSWORD" | "PGDATABASE", string> &
    Partial<Record<"PGSSLMODE" | "PGSSLROOTCERT", string>>
>;

interface ServerFacts {
  readonly version: string;
  readonly sizeBytes: number;
  readonly uptimeSeconds: number;
}

/**
 * Reads the state of a stack. Changes nothing.
 *
 * @throws {ScriptError} `NOT_RUNNING` (exit 3), with the rest of the state in `data`
 */
export async function readStatus(config: Config, signal: AbortSignal): Promise<StackStatus> {
  const stack = await openStack(config);
  const postmaster = stack.mode === "embedded" ? await findPostmaster(stack.dataDir) : undefined;
  const isUp = stack.mode !== "compose" || stack.config.externalServer !== undefined;
  const isStopped = !isUp || (postmaster !== undefined && postmaster.state !== "running");
  const secrets = await readSecretsState(stack);
  if (isStopped) throw notRunning(stack, await stoppedStatus(stack, secrets));
  if (postmaster?.state === "running" && !postmaster.hasLostPidFile) await checkServedFolder(stack.dataDir);
  const target = await administratorTarget(stack);
  await using connection = openConnection(target, { applicationName: "cqrs-postgres status", signal });
  try {
    return {
      projectDir: stack.config.projectDir,
      mode: stack.mode,
      isRunning: true,
      url: maskedUrl({ ...target, user: await findLogin(connection.sql, stack.user) }),
      pid: postmaster?.state === "running" ? postmaster.pid : null,
      port: target.port,
      dataDirectory: stack.mode === "embedded" ? stack.dataDir : null,
      ...(await readFacts(connection.sql)),
      ...(await readSchemaState(connection.sql, stack.config.sqlDir)),
      logProblems: await readLogProblems(connection.sql),
      logHolder: await readLogHolder(connection.sql),
      secrets,
      setUpBy: stack.remembered?.version ?? null,
      stackProblems: [
        ...(postmaster?.state === "running" && postmaster.hasLostPidFile ? [pidFileNote] : []),
        ...(await findStackProblems(stack)),
        ...(await findServerProblems(stack, connection.sql)),
      ],
    };
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** @throws {ScriptError} `NOT_RUNNING`, `SECRETS_MISSING` or `OTHER_DATABASE` (exit 3) */
export async function readClientEnvironment(config: Config): Promise<ClientEnvironment> {
  return clientEnvironment(await readClientTarget(await openStack(config)));
}

/**
 * Finds the server and the application's login.
 *
 * @throws {ScriptError} `NOT_RUNNING`, `SECRETS_MISSING` or `OTHER_DATABASE` (exit 3)
 */
export async function readClientTarget(stack: Stack): Promise<ConnectionTarget> {
  // An external server is not asked: the secret has all, and DATABASE_URL may name the application's login.
  const server: ConnectionTarget | undefined = stack.mode === "external" ? undefined : await administratorTarget(stack);
  const application = await applicationTarget(stack);
  // The embedded server may have moved to another port. Elsewhere, the host and the port of a secret belong together.
  const target = stack.mode === "embedded" ? { ...application, port: server?.port ?? application.port } : application;
  if (target.database !== stack.database) throw otherDatabase(stack.database, target.database);
  return target;
}

/** @returns the variables with which PostgreSQL's clients connect to a target */
export function clientEnvironment(target: ConnectionTarget): ClientEnvironment {
  const { host, port, user, password = "", database, tls, tlsRootCert } = target;
  return {
    DATABASE_URL: connectionUrl(target),
    PGHOST: host,
    PGPORT: `${port}`,
    PGUSER: user,
    PGPASSWORD: password,
    PGDATABASE: database,
    ...(tls !== undefined && demandsTls(tls) ? { PGSSLMODE: tls } : {}),
    ...(tlsRootCert === undefined ? {} : { PGSSLROOTCERT: tlsRootCert }),
  };
}

function otherDatabase(asked: string, known: string): ScriptError {
  return new ScriptError({
    code: "OTHER_DATABASE",
    exitCode: exitCodes.notReady,
    message: `The credentials are for the database ${known}, not ${asked}`,
    why: "The secret contains the database of the last bootstrap.",
    fix: `Run ${runLine("bootstrap")} --database ${asked}`,
  });
}

/** If the store is unreachable, returns the error's message in place of the location. */
async function readSecretsState({ secrets, secretsPlace }: Stack): Promise<SecretsState> {
  try {
    const { location, isReady } = await secrets.status();
    return { place: secretsPlace, location, isReady };
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return { place: secretsPlace, location: error.message, isReady: false };
  }
}

async function findStackProblems({ mode, dataDir, remembered }: Stack): Promise<string[]> {
  const skew = describeSkew(remembered);
  const isShared = mode === "embedded" && (await isClusterShared(dataDir));
  return [...(skew === undefined ? [] : [skew.text]), ...(isShared ? [sharedNote] : [])];
}

async function findServerProblems(stack: Stack, sql: Sql): Promise<string[]> {
  const problem = await describeOtherServer(stack, sql);
  return problem === undefined ? [] : [problem];
}

async function stoppedStatus(stack: Stack, secrets: SecretsState): Promise<StackStatus> {
  return {
    projectDir: stack.config.projectDir,
    mode: stack.mode,
    isRunning: false,
    version: null,
    url: null,
    pid: null,
    port: stack.remembered?.port ?? null,
    dataDirectory: stack.mode === "embedded" ? stack.dataDir : null,
    sizeBytes: null,
    uptimeSeconds: null,
    pendingMigrations: null,
    schemaProblem: null,
    logProblems: null,
    logHolder: null,
    secrets,
    setUpBy: stack.remembered?.version ?? null,
    stackProblems: await findStackProblems(stack),
  };
}

async function readFacts(sql: Sql): Promise<ServerFacts> {
  const [facts] = await sql<ServerFacts[]>`
    select
      split_part(current_setting('server_version'), ' ', 1) as version,
      pg_catalog.pg_database_size(current_database())::float8 as "sizeBytes",
      extract(epoch from clock_timestamp() - pg_catalog.pg_postmaster_start_time())::int as "uptimeSeconds"`;
  if (facts === undefined) throw new Error("a query without a table returned no row");
  return facts;
}

async function readSchemaState(
  sql: Sql,
  sqlDir: string,
): Promise<Pick<StackStatus, "pendingMigrations" | "schemaProblem">> {
  try {
    return { pendingMigrations: (await readPlan(sql, await readAllFiles(sqlDir))).pending.length, schemaProblem: null };
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return { pendingMigrations: null, schemaProblem: error.message };
  }
}
