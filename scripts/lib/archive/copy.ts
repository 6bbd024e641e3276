import { once } from "node:events";
import type { Sql } from "../postgres/connect.ts";
import { abandonCopy, copyEnd, resumeSocket } from "../postgres/driver.ts";
import { isFromServer } from "../postgres/failure.ts";

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
  const ended = copyEnd(query);
  const readable = await query.readable();
  // A session that is ended in the middle destroys the stream with an error that nobody else listens to.
  readable.on("error", ignore);
  readable.on("end", () => resumeSocket(readable));
  try {
    for await (const piece of readable.iterator({ destroyOnReturn: false })) await write(piece as Buffer);
  } catch (error) {
    await abandonCopy(query, readable, ended);
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
  const ended = copyEnd(query);
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
      (reason: unknown) => (isFromServer(reason) && !isCopyFail(reason) ? reason : error),
    );
  }
  writable.end();
  return ended;
}

/** 57014 with this text is the server's answer to our own giving up. */
function isCopyFail(error: unknown): boolean {
  return (error as { code?: unknown }).code === "57014";
}

function ignore(): void {}
