import { once } from "node:events";
import type { Readable } from "node:stream";
import type { Sql } from "../postgres/connect.ts";

/** What the driver keeps of a statement; the promise itself is settled once the stream is there (postgres 3.4.9). */
interface StreamedQuery {
  active: boolean;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  canceller(query: StreamedQuery): Promise<void>;
}

/**
 * Sends the rows of a `COPY … TO STDOUT` on, in pieces of any length.
 *
 * When `write` fails, the statement is cancelled and what the server has sent already is dropped, so that the connection
 * can be used again: a stream that is merely destroyed leaves it waiting for ever.
 *
 * @param sql a transaction or a single connection
 * @param write gets each piece; the next one is not read before it is done
 * @returns how many rows the server says it sent
 */
export async function copyOut(
  sql: Sql,
  statement: string,
  write: (piece: Buffer) => void | Promise<void>,
): Promise<number> {
  const query = sql.unsafe(statement);
  const ended = commandEnd(query);
  const readable = await query.readable();
  // A session that is ended in the middle destroys the stream with an error that nobody else listens to.
  readable.on("error", ignore);
  // The driver pauses the socket when the last rows come faster than they are read, and nothing resumes it (its issues
  // 499 and 917).
  readable.on("end", () => resumeSocket(readable));
  try {
    for await (const piece of readable.iterator({ destroyOnReturn: false })) await write(piece as Buffer);
  } catch (error) {
    await abandon(query as unknown as StreamedQuery, readable, ended);
    throw error;
  }
  return ended;
}

/**
 * Feeds a `COPY … FROM STDIN`.
 *
 * @param sql a transaction or a single connection
 * @param pieces text in the format of COPY, cut anywhere
 * @returns how many rows the server says it stored
 * @throws what the server says of a bad row; the driver alone would wait for ever (its issue 1173)
 */
export async function copyIn(sql: Sql, statement: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const query = sql.unsafe(statement);
  const ended = commandEnd(query);
  const writable = await query.writable();
  writable.on("error", ignore);
  try {
    for await (const piece of pieces) {
      const isRoomLeft = writable.write(piece);
      if (!isRoomLeft) await Promise.race([once(writable, "drain"), ended]);
    }
  } catch (error) {
    writable.destroy(error as Error);
    // What the server said comes first: a stream that it closed only fails in turn.
    throw await ended.then(
      () => error,
      (reason: unknown) => (isOfServer(reason) && !isCopyFail(reason) ? reason : error),
    );
  }
  writable.end();
  return ended;
}

/**
 * The end of the command on the wire. The driver settles its promise when the stream is there and drops what comes after:
 * rows that were refused, a session that was ended, the number of rows. Of an empty table all of it comes at once, so
 * this looks before the statement is sent.
 */
function commandEnd(pending: unknown): Promise<number> {
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
  ended.catch(ignore);
  return ended;
}

async function abandon(query: StreamedQuery, readable: Readable, ended: Promise<number>): Promise<void> {
  query.active = true;
  // Not query.cancel(), whose promise is dropped: it fails, for nobody to catch, when the server is gone.
  query.canceller(query).catch(ignore);
  readable.resume();
  await ended.catch(ignore);
  // The last rows may have paused the socket, and a stream that has failed resumes nothing.
  resumeSocket(readable);
}

/** Reading is resuming, for the driver; there is no socket any more when the session was ended. */
function resumeSocket(readable: Readable): void {
  try {
    readable._read(0);
  } catch {
    // Nothing is left to be resumed.
  }
}

function isOfServer(error: unknown): boolean {
  return typeof (error as { severity?: unknown } | null)?.severity === "string";
}

/** 57014 with this text is the server's answer to our own giving up. */
function isCopyFail(error: unknown): boolean {
  return (error as { code?: unknown }).code === "57014";
}

function ignore(): void {}
