import type { Readable } from "node:stream";

const copyData = "d".charCodeAt(0);
const headerBytes = 5;
const minLength = 4;

/**
 * Passes the rows of a COPY TO to its stream. A server sends a message for each row, and the driver's work for a message
 * costs more than its bytes. How the data of a COPY is split has no meaning.
 */
export class CopyRows {
  readonly #stream: Readable;
  readonly #pause: () => void;
  /** Number of bytes of the current row that have not arrived. */
  #missing = 0;
  /** The beginning of a header. */
  #partial: Buffer | undefined;

  /** @param pause called if the stream wants no more for now; the driver resumes the socket when the stream is read */
  constructor(stream: Readable, pause: () => void) {
    this.#stream = stream;
    this.#pause = pause;
  }

  /**
   * @param chunk bytes from the server, which are changed in place
   * @returns what is left: nothing, or another message and what follows it
   */
  take(chunk: Buffer): Buffer {
    const bytes = this.#partial === undefined ? chunk : Buffer.concat([this.#partial, chunk]);
    this.#partial = undefined;
    let at = Math.min(this.#missing, bytes.length);
    let filled = at;
    this.#missing -= at;
    while (beginsRow(bytes, at)) {
      const next = at + 1 + bytes.readUInt32BE(at + 1);
      const end = Math.min(next, bytes.length);
      bytes.copyWithin(filled, at + headerBytes, end);
      filled += end - at - headerBytes;
      this.#missing = next - end;
      at = end;
    }
    if (filled > 0 && !this.#stream.push(bytes.subarray(0, filled))) this.#pause();
    const rest = bytes.subarray(at);
    if (rest.length === 0 || rest.length >= headerBytes) return rest;
    this.#partial = Buffer.from(rest);
    return bytes.subarray(bytes.length);
  }
}

function beginsRow(bytes: Buffer, at: number): boolean {
  return bytes.length - at >= headerBytes && bytes[at] === copyData && bytes.readUInt32BE(at + 1) >= minLength;
}
