import postgres from "postgres";
import type { TlsMode } from "../tls-mode.ts";
import { expectUncaught } from "../uncaught.ts";
import { ChangingLogin, type Credentials } from "./changing-login.ts";
import { isLateWrite, type Sql } from "./driver.ts";

export type { Sql };

/** Where to connect, as whom. */
export interface ConnectionTarget {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly tls?: TlsMode;
}

/** How to connect. */
export interface ConnectionOptions {
  /** Shown in `pg_stat_activity`; @default "cqrs-postgres" */
  readonly applicationName?: string;
  /** Greatest number of connections; @default 1 */
  readonly max?: number;
  /** Role to work as (`SET ROLE`); the login itself when left out. */
  readonly role?: string;
  /** The search path; the database's own when left out. */
  readonly searchPath?: string;
  /** How long connecting may take, in seconds; @default 10 */
  readonly connectTimeoutSeconds?: number;
  /** How long a connection may be idle before it is closed, in seconds; @default 0, for ever */
  readonly idleTimeoutSeconds?: number;
  /** Asked at each new connection, so that a rotated login is followed; the target's own when left out. */
  readonly credentials?: () => Credentials | Promise<Credentials>;
  /** Isolation of transactions that name none; the server's own when left out. */
  readonly isolation?: "read committed";
  /** Ends all connections at once when it is aborted. */
  readonly signal?: AbortSignal;
  /** Gets what the server remarks, such as `NOTICE: …`. */
  readonly onNotice?: (text: string) => void;
}

/** A pool that is closed when it is disposed of. */
export interface Connection extends AsyncDisposable {
  readonly sql: Sql;
}

/**
 * Makes a pool; it connects at the first query.
 *
 * Server, login, password and TLS are always given to the driver: what is absent it would take from PG* variables, and
 * the environment of a shell shall not choose the server.
 */
export function openConnection(target: ConnectionTarget, options: ConnectionOptions = {}): Connection {
  expectUncaught(isLateWrite);
  const connectTimeoutSeconds = options.connectTimeoutSeconds ?? 10;
  const sql = postgres({
    host: target.host,
    port: target.port,
    database: target.database,
    username: target.user,
    // A function, since the driver would put PGPASSWORD in place of an empty string.
    password: () => target.password ?? "",
    ...(options.credentials === undefined ? {} : followCredentials(options.credentials, connectTimeoutSeconds * 1000)),
    ssl: target.tls === undefined || target.tls === "disable" ? false : target.tls,
    max: options.max ?? 1,
    connect_timeout: connectTimeoutSeconds,
    idle_timeout: options.idleTimeoutSeconds ?? 0,
    max_lifetime: 30 * 60,
    fetch_types: false,
    onnotice: (notice) => options.onNotice?.(`${notice["severity"]}: ${notice["message"]}`),
    types: { bigint: postgres.BigInt },
    connection: {
      application_name: options.applicationName ?? "cqrs-postgres",
      ...(options.role === undefined ? {} : { role: options.role }),
      ...(options.searchPath === undefined ? {} : { search_path: options.searchPath }),
      ...(options.isolation === undefined ? {} : { default_transaction_isolation: options.isolation }),
    },
  }) as unknown as Sql;
  const endAtOnce = () => void sql.end({ timeout: 0 });
  options.signal?.addEventListener("abort", endAtOnce, { once: true });
  return {
    sql,
    async [Symbol.asyncDispose]() {
      options.signal?.removeEventListener("abort", endAtOnce);
      await sql.end({ timeout: 5 });
    },
  };
}

function followCredentials(read: () => Credentials | Promise<Credentials>, timeoutMs: number) {
  const login = new ChangingLogin(read, timeoutMs);
  return { socket: login.open.bind(login), password: () => login.password() };
}

/** @returns `postgres://user:password@host:port/database` with every part percent-encoded */
export function connectionUrl(target: ConnectionTarget): string {
  const password = target.password === undefined ? "" : `:${encodeURIComponent(target.password)}`;
  return `postgres://${encodeURIComponent(target.user)}${password}@${location(target)}`;
}

/** @returns the same with `****` in place of the password: what may be printed */
export function maskedUrl(target: ConnectionTarget): string {
  return `postgres://${encodeURIComponent(target.user)}:****@${location(target)}`;
}

function location({ host, port, database }: ConnectionTarget): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}/${encodeURIComponent(database)}`;
}
