import { locked } from "../../cli/errors.ts";
import { takeAdvisoryLock } from "../advisory-lock.ts";
import type { Sql } from "../connect.ts";
import { quoteIdentifier, quoteLiteral } from "../quote.ts";

/** The login that takes turns with the application's one, and how long it is still good for when it has had its turn. */
export interface Twin {
  readonly name: string;
  readonly graceMs: number;
}

/** How far a login is in its turn. */
export type LoginTurn =
  | "absent"
  /** Good without end: the application's. */
  | "current"
  /** It has a new password that no secret names yet. */
  | "prepared"
  /** It had its turn; applications that have not read the new secret yet may log in with it. */
  | "ending"
  | "ended";

/**
 * The end of a login that is prepared, in UTC. It never comes, so a secret that names the login is good from the first
 * moment on; and it differs from no end, so a rotation that was cut off is told from one that was finished.
 */
export const preparedUntil = "9999-12-31 00:00:00";

/** Tells how far a login is in its turn, and when it ends or ended. */
export async function readTurn(sql: Sql, login: string): Promise<{ readonly turn: LoginTurn; readonly until: Date }> {
  const [row] = await sql<{ turn: LoginTurn; until: Date | null }[]>`
    select
      case
        when coalesce(rolvaliduntil, 'infinity') = 'infinity' then 'current'
        when rolvaliduntil at time zone 'UTC' = ${preparedUntil}::text::timestamp then 'prepared'
        when rolvaliduntil > now() then 'ending'
        else 'ended'
      end as turn,
      nullif(greatest(rolvaliduntil, 'epoch'), 'infinity') as until
    from pg_catalog.pg_roles where rolname = ${login}`;
  return { turn: row?.turn ?? "absent", until: row?.until ?? new Date(0) };
}

/**
 * Lets a login end after its grace, when it had its turn and nobody has said so yet. PostgreSQL itself keeps to it, so no
 * process has to wait for the end; sessions that are open then go on.
 *
 * @returns what was changed, a phrase each
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
 * Takes the lock under which logins take turns; the session holds it until it ends.
 *
 * @param sql a single connection
 * @throws {ScriptError} `LOCKED` (exit 5) if another session holds it
 */
export async function lockRotation(sql: Sql): Promise<void> {
  const { isTaken } = await takeAdvisoryLock(sql, { tag: "rota", name: "" }, { timeoutMs: 0 });
  if (isTaken) return;
  throw locked(
    "Another rotation is running",
    "Two at once would each change the password that the other has just published.",
    "Wait for it to finish; it leaves new credentials.",
  );
}
