import { once } from "node:events";
import { abandonCopy, copyEnd, resumeSocket, type Sql } from "../postgres/driver.ts";
import { connectionFailure, isFromServer } from "../postgres/failure.ts";

/**
 * Reads the rows of a `COPY … TO STDOUT`, in pieces of arbitrary length.
 *
 * If `write` fails, cancels the statement and discards what the server has already sent, so that the connection can be
 * reused. Just destroying the stream would make the connection hang.
 *
 * @param sql a transaction or a single connection
 * @param write receives each piece; the next one is not read until it settles
 * @returns the number of rows, as reported by the server
 */
export async function copyOut(
  sql: Sql,
  statement: string,
  write: (piece: Buffer) => void | Promise<void>,
): Promise<number> {
  const query = sql.unsafe(statement);
  const ended = copyEnd(query);
  const readable = await query.readable();
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
 * Sends the rows of a `COPY … FROM STDIN`.
 *
 * @param sql a transaction or a single connection
 * @param pieces text in COPY's format, split anywhere
 * @returns the number of rows, as reported by the server
 * @throws the server's error for a bad row; with the driver alone, a bad row hangs (its issue 1173)
 */
export async function copyIn(sql: Sql, statement: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const query = sql.unsafe(statement);
  const ended = copyEnd(query);
  const writable = await query.writable();
  try {
    for await (const piece of pieces) {
      const isRoomLeft = writable.write(piece);
      if (!isRoomLeft) await Promise.race([once(writable, "drain"), ended]);
    }
  } catch (error) {
    writable.destroy(error as Error);
    // The stream's own error, such as ECANCELED, may be just a consequence.
    throw await ended.then(
      () => error,
      (reason: unknown) => (explainsFailure(reason) ? reason : error),
    );
  }
  writable.end();
  return ended;
}

/** A bad row, or the end of the session, is why the stream was closed. */
function explainsFailure(reason: unknown): boolean {
  return connectionFailure(reason) !== undefined || (isFromServer(reason) && !isCopyFail(reason));
}

/** 57014 is the server's response if we abort the COPY ourselves. */
function isCopyFail(error: unknown): boolean {
  return (error as { code?: unknown }).code === "57014";
}
