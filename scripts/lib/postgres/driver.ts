// Every workaround of postgres.js, and everything that leans on its internals: it holds for this version alone.
import type { Readable } from "node:stream";
import { Duplex } from "node:stream";
import type postgres from "postgres";

/** The version of postgres.js whose faults and internals this file knows; a test compares it with the one installed. */
export const driverVersion = "3.4.9";

/** A pool of connections; int8 columns are read as `bigint`. */
export type Sql = postgres.Sql<{ bigint: bigint }>;

/** What the driver passes to its `socket` function: the options of its pool. */
export interface DriverOptions {
  readonly host: readonly string[];
  readonly port: readonly number[];
  /** Parameters of the start-up message; a user among them comes before the pool's own. */
  readonly connection: Record<string, unknown>;
}

/**
 * A stream on which the driver's first write fails. If its `socket` function rejected, or the socket closed before that
 * write, the pool would never use this connection again.
 */
export function failingStream(error: Error): Duplex {
  return new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done(error) });
}

/**
 * Whether an uncaught exception is the driver's late write: it postpones small writes, and throws where nothing can
 * catch it if the server has closed the connection in the meantime. The statement itself has failed with
 * CONNECTION_CLOSED, and that is what is reported.
 */
export function isLateWrite(error: unknown): boolean {
  const stack = error instanceof TypeError ? (error.stack ?? "") : "";
  return /nextWrite.*postgres.src.connection\.js/.test(stack);
}

/**
 * Does work in a transaction.
 *
 * If the server ends the session while the work waits for something else, the driver's `begin` rejects at once. Once the
 * work returned, the driver would send a rollback and throw where nothing can catch it, so the work never returns to it.
 *
 * The result travels in an object: the driver would await the elements of an array instead of the work.
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
 * itself sends it again only once; if that fails, it never does, and still counts the channel as listened to.
 */
export async function dropListener(listener: Promise<ChannelListener> | undefined): Promise<void> {
  await (await listener)?.unlisten().catch(() => undefined);
}

/** What the driver keeps of a statement. */
interface StreamedQuery {
  active: boolean;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  canceller(query: StreamedQuery): Promise<void>;
}

/**
 * The end of a COPY on the wire. The driver settles its promise once the stream exists and drops what comes later:
 * refused rows (its issue 1173), a session that ended, the number of rows. For an empty table all of that arrives at
 * once, so this must be called before the statement is sent.
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
  // Not query.cancel(), which drops its promise: that rejects uncaught if the server is gone.
  query.canceller(query).catch(() => {});
  readable.resume();
  await ended.catch(() => {});
  // The last rows may have paused the socket, and a stream that has failed resumes nothing.
  resumeSocket(readable);
}

/**
 * Resumes the socket behind a COPY TO. The driver pauses it if the last rows come faster than they are read, and nothing
 * resumes it (its issues 499 and 917).
 */
export function resumeSocket(readable: Readable): void {
  try {
    readable._read(0);
  } catch {
    // The session has ended: there is no socket left to resume.
  }
}
