import { locked } from "../../cli/errors.ts";
import { takeAdvisoryLock } from "../advisory-lock.ts";
import type { Sql } from "../driver.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";

/**
 * The twin: the login of a pair that is not current. Each rotation switches to the twin; the login that it replaces
 * becomes the twin and expires.
 */
export interface Twin {
  readonly name: string;
  /** How long it stays valid after it was replaced. */
  readonly graceMs: number;
}

/** The state of a login with regard to rotation. */
export type LoginState =
  | "absent"
  /** The application's login: it does not expire. */
  | "current"
  /** It has a new password that no secret contains yet. */
  | "prepared"
  /** It was replaced, but applications that have not read the new secret yet can still log in with it. */
  | "expiring"
  /** It has expired. */
  | "expired";

/**
 * The expiry of a prepared login, in UTC. It is never reached, so the login already works when a secret first contains
 * it. It differs from `infinity`, so that an interrupted rotation can be distinguished from a finished one.
 */
export const preparedUntil = "9999-12-31 00:00:00";

/** Reads the state of a login, and when it expires or expired. */
export async function readLoginState(
  sql: Sql,
  login: string,
): Promise<{ readonly state: LoginState; readonly until: Date }> {
  const [row] = await sql<{ state: LoginState; until: Date | null }[]>`
    select
      case
        when coalesce(rolvaliduntil, 'infinity') = 'infinity' then 'current'
        when rolvaliduntil at time zone 'UTC' = ${preparedUntil}::text::timestamp then 'prepared'
        when rolvaliduntil > now() then 'expiring'
        else 'expired'
      end as state,
      nullif(greatest(rolvaliduntil, 'epoch'), 'infinity') as until
    from pg_catalog.pg_roles where rolname = ${login}`;
  return { state: row?.state ?? "absent", until: row?.until ?? new Date(0) };
}

/**
 * Makes a replaced login expire after its grace period, unless its expiry is already set. PostgreSQL enforces the
 * expiry, so no process has to wait for it. Existing sessions continue.
 *
 * @returns the changes, one phrase each
 */
export async function expireTwin(tx: Sql, { name, graceMs }: Twin): Promise<string[]> {
  const [row] = await tx<{ until: string }[]>`
    select (now() + make_interval(secs => ${graceMs / 1000}))::text as until
    from pg_catalog.pg_roles where rolname = ${name} and coalesce(rolvaliduntil, 'infinity') = 'infinity'`;
  if (row === undefined) return [];
  await tx.unsafe(`alter role ${quoteIdentifier(name)} valid until ${quoteLiteral(row.until)}`);
  return [`retired ${name}`];
}

/**
 * Takes the lock for rotations; the session holds it until it ends.
 *
 * @param sql a single connection
 * @throws {ScriptError} `LOCKED` (exit 5) if another session holds it
 */
export async function lockRotation(sql: Sql): Promise<void> {
  const { isTaken } = await takeAdvisoryLock(sql, { tag: "rota", name: "" }, { timeoutMs: 0 });
  if (isTaken) return;
  throw locked(
    "Another rotation is running",
    "Two concurrent rotations would each change the password that the other just published.",
    "Wait for it to finish. Its credentials are new, so you need not rotate again.",
  );
}
