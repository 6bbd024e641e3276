import { makeStatementFactory, type Sql } from "./driver.ts";
import { Pool } from "./pool/pool.ts";
import type { Credentials, SessionTarget } from "./target.ts";

/** How to connect. */
export interface ConnectionOptions {
  /** Shown in `pg_stat_activity`; @default "cqrs-postgres" */
  readonly applicationName?: string;
  /** Maximum number of connections; @default 1 */
  readonly max?: number;
  /** Role to switch to (`SET ROLE`); by default, the login itself. A pooler refuses it. */
  readonly role?: string;
  /** Whether the server may log the statements; only a superuser may say `false`. @default true */
  readonly logStatements?: boolean;
  /** @default that of the target */
  readonly searchPath?: string;
  /** Whether statements are prepared; `false` behind a pooler that cannot track them. @default true */
  readonly prepare?: boolean;
  /** How long to wait for a connection, in seconds; @default 10 */
  readonly connectTimeoutSeconds?: number;
  /** How long a connection may be idle before it is closed, in seconds; @default never closed */
  readonly idleTimeoutSeconds?: number;
  /** Called for each new connection, so that a rotated login is picked up; by default, the target's credentials. */
  readonly credentials?: () => Credentials | Promise<Credentials>;
  /** Closes all connections at once when it is aborted. */
  readonly signal?: AbortSignal;
  /** Receives the server's notices and warnings: `NOTICE: …`. */
  readonly onNotice?: (text: string) => void;
  /** Called when a session has logged in. */
  readonly onSessionOpen?: () => void;
  /** Called when a session that had logged in has ended unexpectedly. */
  readonly onSessionLost?: (reason: Error) => void;
}

/** A pool that closes when it is disposed of. */
export interface Connection extends AsyncDisposable {
  readonly sql: Sql;
}

/** Longer timers fire at once. */
const maxTimerMs = 2 ** 31 - 1;
const maxLifetimeMs = 30 * 60_000;
const disposeTimeoutMs = 5_000;

/** Opens a pool; it connects with the first query. */
export function openConnection(target: SessionTarget, options: ConnectionOptions = {}): Connection {
  const { signal, idleTimeoutSeconds = Number.POSITIVE_INFINITY, onSessionOpen = () => {} } = options;
  const pool = new Pool({
    max: options.max ?? 1,
    idleTimeoutMs: idleTimeoutSeconds * 1000,
    maxLifetimeMs,
    session: {
      target,
      connectTimeoutMs: Math.min((options.connectTimeoutSeconds ?? 10) * 1000, maxTimerMs),
      credentials: options.credentials ?? (() => ({ ...target, password: target.password ?? "" })),
      factory: makeStatementFactory(target, {
        connection: startupParameters({ ...options, searchPath: options.searchPath ?? target.searchPath }),
        prepare: options.prepare ?? true,
        onNotice: options.onNotice ?? (() => {}),
      }),
    },
    onSessionOpen,
    onSessionLost: options.onSessionLost ?? (() => {}),
  });
  const endAtOnce = () => pool.destroy();
  signal?.addEventListener("abort", endAtOnce, { once: true });
  if (signal?.aborted) endAtOnce();
  return {
    sql: pool.sql,
    async [Symbol.asyncDispose]() {
      signal?.removeEventListener("abort", endAtOnce);
      await pool.end(disposeTimeoutMs);
    },
  };
}

type StartupOptions = Pick<ConnectionOptions, "applicationName" | "role" | "logStatements"> & {
  readonly searchPath: string | undefined;
};

function startupParameters(options: StartupOptions): Record<string, string> {
  const { applicationName, role, searchPath, logStatements = true } = options;
  return {
    application_name: applicationName ?? "cqrs-postgres",
    ...(role === undefined ? {} : { role }),
    ...(searchPath === undefined ? {} : { search_path: searchPath }),
    ...(logStatements ? {} : { log_statement: "none", log_min_duration_statement: "-1" }),
  };
}
