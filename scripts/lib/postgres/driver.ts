// All workarounds for postgres.js and all uses of its internals. They are tied to one version.
import type { Readable } from "node:stream";
import { Duplex } from "node:stream";
import type postgres from "postgres";

/** The version of postgres.js that this file is written for; a test compares it with the installed one. */
export const driverVersion = "3.4.9";

/** A pool of connections; int8 columns are read as `bigint`. */
export type Sql = postgres.Sql<{ bigint: bigint }>;

/** What the driver passes to its `socket` function: the options of the pool. */
export interface DriverOptions {
  readonly host: readonly string[];
  readonly port: readonly number[];
  /** Parameters of the start-up message; a user among them overrides that of the pool. */
  readonly connection: Record<string, unknown>;
}

/**
 * A stream whose first write fails. If the `socket` function rejected, or the socket closed before that write, the pool
 * would never use the connection again.
 */
export function failingStream(error: Error): Duplex {
  return new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done(error) });
}

/**
 * Whether an uncaught exception comes from a deferred write of the driver. The driver defers small writes; if the
 * server closes the connection in the meantime, it throws where nothing can catch it. The statement itself fails with
 * CONNECTION_CLOSED, so nothing goes unreported.
 */
export function isLateWrite(error: unknown): boolean {
  const stack = error instanceof TypeError ? (error.stack ?? "") : "";
  return /nextWrite.*postgres.src.connection\.js/.test(stack);
}

/**
 * Runs work in a transaction.
 *
 * If the server ends the session while the work waits for something else, the driver's `begin` rejects at once. If the
 * work returned after that, the driver would send a rollback and throw where nothing can catch it. So it never returns.
 *
 * The result is wrapped in an object, because the driver awaits the elements of a returned array.
 */
export async function beginTransaction<Result>(
  sql: Sql,
  mode: string | undefined,
  work: (tx: Sql, state: { readonly isLost: boolean }) => Promise<Result>,
): Promise<Result> {
  const state = { isLost: false };
  const begun = sql.begin(mode ?? "", async (tx) => {
    try {
      return { result: await work(tx as unknown as Sql, state) };
    } finally {
      if (state.isLost) await new Promise(() => {});
    }
  });
  try {
    return (await begun).result;
  } finally {
    state.isLost = true;
  }
}

/** A channel that is being listened to; undefined if LISTEN failed. */
export type ChannelListener = { unlisten(): Promise<void> } | undefined;

/**
 * Stops listening to a channel after its connection was lost, so that the next `sql.listen()` sends LISTEN. The driver
 * itself retries only once; if that fails, it still considers the channel listened to.
 */
export async function dropListener(listener: Promise<ChannelListener> | undefined): Promise<void> {
  await (await listener)?.unlisten().catch(() => undefined);
}

/** The driver's record of a statement. */
interface StreamedQuery {
  active: boolean;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  canceller(query: StreamedQuery): Promise<void>;
}

/**
 * Settles when a COPY has ended on the wire. The driver settles its own promise as soon as the stream exists, and drops
 * what comes later: rejected rows (its issue 1173), a lost session, the number of rows. For an empty table all of that
 * arrives together, so this must be called before the statement is sent.
 *
 * @returns the number of rows
 */
export function copyEnd(pending: unknown): Promise<number> {
  const query = pending as StreamedQuery;
  const [begin, refuse] = [query.resolve, query.reject];
  const ended = new Promise<number>((resolve, reject) => {
    query.resolve = (stream) => {
      query.resolve = (result) => {
        query.active = false;
        resolve((result as { readonly count: number | null }).count ?? 0);
      };
      query.reject = (error) => {
        query.active = false;
        reject(error);
      };
      begin(stream);
    };
    query.reject = (error) => {
      refuse(error);
      reject(error);
    };
  });
  ended.catch(() => {});
  return ended;
}

/** Cancels a COPY TO whose stream is no longer read, so that the connection can be used again. */
export async function abandonCopy(pending: unknown, readable: Readable, ended: Promise<number>): Promise<void> {
  const query = pending as StreamedQuery;
  query.active = true;
  // query.cancel() would drop this promise, and its rejection would be uncaught if the server is gone.
  query.canceller(query).catch(() => {});
  readable.resume();
  await ended.catch(() => {});
  // The last rows may have paused the socket, and a failed stream does not resume it.
  resumeSocket(readable);
}

/**
 * Resumes the socket behind a COPY TO. The driver pauses it if the last rows arrive faster than they are read, and
 * never resumes it (its issues 499 and 917).
 */
export function resumeSocket(readable: Readable): void {
  try {
    readable._read(0);
  } catch {
    // The session has ended: there is no socket left to resume.
  }
}
