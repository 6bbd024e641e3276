import postgres from "postgres";
import type { TlsMode } from "../tls-mode.ts";
import { expectUncaught } from "../uncaught.ts";
import { ChangingLogin, type Credentials } from "./changing-login.ts";
import { isLateWrite, type Sql } from "./driver.ts";

export type { Sql };

/** The server to connect to, and the login. */
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
  /** Maximum number of connections; @default 1 */
  readonly max?: number;
  /** Role to switch to (`SET ROLE`); by default, the login itself. */
  readonly role?: string;
  /** The search path; by default, that of the database. */
  readonly searchPath?: string;
  /** How long to wait for a connection, in seconds; @default 10 */
  readonly connectTimeoutSeconds?: number;
  /** How long a connection may be idle before it is closed, in seconds; @default 0, never */
  readonly idleTimeoutSeconds?: number;
  /** Called for each new connection, so that a rotated login is picked up; by default, the target's credentials. */
  readonly credentials?: () => Credentials | Promise<Credentials>;
  /** Isolation level of transactions that do not set it; by default, that of the server. */
  readonly isolation?: "read committed";
  /** Closes all connections at once when it is aborted. */
  readonly signal?: AbortSignal;
  /** Receives the server's notices and warnings: `NOTICE: …`. */
  readonly onNotice?: (text: string) => void;
}

/** A pool that closes when it is disposed of. */
export interface Connection extends AsyncDisposable {
  readonly sql: Sql;
}

/**
 * Opens a pool; it connects with the first query.
 *
 * The driver is always given the server, login, password and TLS mode: it would read missing ones from the PG*
 * variables, and the shell's environment must not choose the server.
 */
export function openConnection(target: ConnectionTarget, options: ConnectionOptions = {}): Connection {
  expectUncaught(isLateWrite);
  const connectTimeoutSeconds = options.connectTimeoutSeconds ?? 10;
  const sql = postgres({
    host: target.host,
    port: target.port,
    database: target.database,
    username: target.user,
    // A function, because the driver replaces an empty string with PGPASSWORD.
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

/** @returns the URL with `****` for the password, which is safe to print */
export function maskedUrl(target: ConnectionTarget): string {
  return `postgres://${encodeURIComponent(target.user)}:****@${location(target)}`;
}

function location({ host, port, database }: ConnectionTarget): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}/${encodeURIComponent(database)}`;
}
