import { runLine } from "../cli/run-line.ts";
import { ScriptError } from "../cli/script-error.ts";
import type { EventStore } from "../event-store/store.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { applicationSecretKeys, requireKey, secretPaths } from "../secrets/application-secret.ts";
import { demandsTls, hostAndPort } from "../server-url.ts";
import { applicationTarget, readApplicationSecret, requireSecret, type Stack } from "../stack/stack.ts";
import { type Finding, failed, noProblems, ok } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";

export const credentialChecks: readonly Check[] = [
  { id: "credentials", title: "The application's credentials are in the secret store", run: checkSecrets },
  { id: "login", title: "The application can log in over the network", run: checkLogin },
  { id: "pool", title: "A pool of connections works, and there is room for it", run: checkPool },
];

async function checkSecrets({ stack }: VerifyContext): Promise<Finding> {
  const paths = [secretPaths.application, secretPaths.applicationLocal];
  const secrets = await Promise.all(paths.map((path) => requireSecret(stack.secrets, path)));
  for (const [index, { data }] of secrets.entries()) {
    for (const key of applicationSecretKeys) requireKey(data, key, paths[index] ?? "");
  }
  const [main, local] = secrets;
  const { location } = await stack.secrets.status();
  const versions = secrets.map(({ version }, index) => `${paths[index]} version ${version}`).join(", ");
  const isSame = ["username", "password", "database"].every((key) => main?.data[key] === local?.data[key]);
  const database = main?.data["database"] ?? "";
  const isOurs = stack.config.database !== undefined || database === stack.database;
  const problems = [
    ...(isSame ? [] : ["The two secrets contain different logins, so a rotation was interrupted."]),
    ...(isOurs ? [] : [`The secret is for the database ${database}, not ${stack.database}.`]),
  ];
  return noProblems(problems, `${stack.secretsPlace} ${location}: ${versions}`, `Run ${runLine("bootstrap")}.`);
}

interface Session {
  readonly login: string;
  readonly role: string;
  /** `TLSv1.3`; null if the connection is not encrypted. */
  readonly tls: string | null;
}

async function checkLogin({ stack, store }: VerifyContext): Promise<Finding> {
  const target = await applicationTarget(stack);
  const { login, role, tls } = await withLogin(stack, await store(), readSession);
  const encryption = tls ?? (demandsTls(target.tls) ? "NOT ENCRYPTED" : "not encrypted, and TLS is not demanded");
  const evidence = `${login} logged in to ${hostAndPort(target)}/${stack.database} over TCP as ${role}, ${encryption}`;
  const problems = [
    ...(role === groupRoles.app
      ? []
      : [`It does not switch to ${groupRoles.app}, so other logins cannot use what it creates.`]),
    ...(tls === null && demandsTls(target.tls) ? [`The secret demands TLS (${target.tls}).`] : []),
  ];
  return noProblems(problems, evidence, `Run ${runLine("bootstrap")}.`);
}

async function readSession({ sql }: EventStore): Promise<Session> {
  const [row] = await sql<Session[]>`
    select session_user::text as login, current_user::text as role,
      (select version from pg_catalog.pg_stat_ssl where pid = pg_catalog.pg_backend_pid() and ssl) as tls`;
  if (row === undefined) throw new Error("a query without a condition returned no row");
  return row;
}

async function withLogin<Result>(
  stack: Stack,
  store: EventStore,
  work: (store: EventStore) => Promise<Result>,
): Promise<Result> {
  try {
    return await work(store);
  } catch (error) {
    throw explainConnectionError(error, await applicationTarget(stack));
  }
}

/** The default of `connect()`, and of Spring Boot's pool. */
const poolSize = 10;

/** How many sessions there may be, and how many there are. A limit below 0 means none. */
export interface Room {
  readonly allowed: number;
  readonly used: number;
  readonly loginLimit: number;
  readonly usedByLogin: number;
  readonly databaseLimit: number;
  readonly usedInDatabase: number;
}

/** Opens two sessions, not all: on a server that is almost full, that would take the last ones from applications. */
async function checkPool({ stack, store, sql }: VerifyContext): Promise<Finding> {
  await withLogin(stack, await store(), holdTwoSessions);
  const { username } = await readApplicationSecret(stack);
  const room = await readRoom(sql, username);
  const free = freeSessions(room);
  const evidence = `two sessions of one pool answered; the server has ${room.used} of ${room.allowed} in use`;
  if (free >= poolSize - room.usedByLogin) return ok(evidence);
  const why = `A pool of connect() opens up to ${poolSize} sessions; ${username} has ${room.usedByLogin}, and ${free} are free.`;
  return failed(evidence, why, "Close sessions, or raise max_connections or the limit of the login or the database.");
}

async function holdTwoSessions({ sql }: EventStore): Promise<void> {
  const first = await sql.reserve();
  try {
    const second = await sql.reserve();
    try {
      await Promise.all([first`select 1`, second`select 1`]);
    } finally {
      second.release();
    }
  } finally {
    first.release();
  }
}

export async function readRoom(sql: Sql, login: string): Promise<Room> {
  const [room] = await sql<Room[]>`
    select
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - current_setting('reserved_connections')::int as allowed,
      (select sum(numbackends)::int from pg_stat_database) as used,
      coalesce((select rolconnlimit from pg_roles where rolname = ${login}), -1) as "loginLimit",
      (select count(*)::int from pg_stat_activity where usename = ${login}) as "usedByLogin",
      (select datconnlimit from pg_database where datname = current_database()) as "databaseLimit",
      (select numbackends from pg_stat_database where datname = current_database()) as "usedInDatabase"`;
  if (room === undefined) throw new Error("a query without a condition returned no row");
  return room;
}

/** @returns how many more sessions the login may open in the database */
export function freeSessions({ allowed, used, loginLimit, usedByLogin, databaseLimit, usedInDatabase }: Room): number {
  const ofLogin = loginLimit < 0 ? allowed : loginLimit - usedByLogin;
  const ofDatabase = databaseLimit < 0 ? allowed : databaseLimit - usedInDatabase;
  return Math.max(0, Math.min(allowed - used, ofLogin, ofDatabase));
}

/** @returns the event store with the application's login; undefined if that does not work, which `login` reports */
export async function openStoreIfPossible({ stack, store }: VerifyContext): Promise<EventStore | undefined> {
  try {
    const opened = await store();
    await withLogin(stack, opened, ({ sql }) => sql`select 1`);
    return opened;
  } catch (error) {
    if (error instanceof ScriptError) return undefined;
    throw error;
  }
}
