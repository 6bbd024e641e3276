const copyData = "d".charCodeAt(0);
const headerBytes = 5;

/**
 * Joins adjacent CopyData messages into one. A server sends one for each row, and the driver's work for a message costs
 * more than its bytes. How the data of a COPY is split has no meaning.
 *
 * @param chunk bytes from the server, which are changed in place
 * @param from the first byte of a message, or the length of the chunk; what lies before it stays as it is
 * @returns the pieces of the chunk that are left, in order; a message that has not arrived as a whole stays as it is
 */
export function joinCopyData(chunk: Buffer, from: number): Buffer[] {
  const pieces: Buffer[] = [];
  let kept = 0;
  for (let at = from; at < chunk.length; ) {
    const { end, joined } = joinRun(chunk, at);
    if (joined < end) {
      pieces.push(chunk.subarray(kept, joined));
      kept = end;
    }
    at = end > at ? end : endOfMessage(chunk, at);
  }
  if (kept < chunk.length) pieces.push(chunk.subarray(kept));
  return pieces;
}

/** @returns where the whole CopyData messages that begin at an offset end, and where they end after being joined */
function joinRun(chunk: Buffer, start: number): { readonly end: number; readonly joined: number } {
  let end = start;
  let joined = start;
  while (chunk[end] === copyData) {
    const next = endOfMessage(chunk, end);
    if (next > chunk.length) break;
    const content = end === start ? end : end + headerBytes;
    if (joined < content) chunk.copyWithin(joined, content, next);
    joined += next - content;
    end = next;
  }
  if (joined < end) chunk.writeUInt32BE(joined - start - 1, start + 1);
  return { end, joined };
}

/** The offset behind a message; behind the chunk if its length has not arrived. */
function endOfMessage(chunk: Buffer, at: number): number {
  return at + headerBytes > chunk.length ? chunk.length + 1 : at + 1 + chunk.readUInt32BE(at + 1);
}
