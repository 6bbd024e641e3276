import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { constants, createZstdDecompress, zstdCompress } from "node:zlib";
import { corrupt, type Segment } from "./manifest.ts";
import type { Seal } from "./seal.ts";
import type { ArchiveSink } from "./sink.ts";

/**
 * Fixed, so that the same data always results in the same archive. Small events with many ids are not smaller at level 3,
 * which takes nearly twice the processor time; events with much text are about 3 % smaller.
 */
export const compressionLevel = 2;
/** About twice this much of a table is in memory at a time: one segment as text, one compressed. */
const segmentBytes = 4 * 1024 * 1024;

/** With zlib's default of 16 kB, the passing of chunks between threads costs as much as decompressing them. */
const chunkSize = 256 * 1024;

const compress = promisify(zstdCompress);

/** One archive has many tables, and memory that is not used again stays with the process for a while. */
const freeBuffers: Buffer[] = [];

function takeBuffer(): Buffer {
  return freeBuffers.pop() ?? Buffer.allocUnsafe(segmentBytes);
}

/** Where segments are written, and how. */
export interface SegmentTarget {
  readonly sink: ArchiveSink;
  /** The prefix of the segments' paths: `data/0001`. */
  readonly prefix: string;
  readonly seal: Seal;
}

/**
 * Splits a stream into segments. While one is compressed and written, the next is collected.
 *
 * Disposal waits for pending writes, even if the stream failed. Then the next writer uses the buffers.
 */
export class SegmentWriter implements AsyncDisposable {
  readonly #target: SegmentTarget;
  readonly #segments: Segment[] = [];
  /** The segment that is being collected, and the one that is being written. */
  #gathering: Buffer = takeBuffer();
  #spare: Buffer = takeBuffer();
  #gathered = 0;
  #writing: Promise<void> = Promise.resolve();
  #count = 0;

  constructor(target: SegmentTarget) {
    this.#target = target;
  }

  /** Accepts a piece of the stream; settles once there is room for another. */
  async write(piece: Buffer): Promise<void> {
    for (let at = 0; at < piece.length; ) {
      const taken = piece.copy(this.#gathering, this.#gathered, at);
      this.#gathered += taken;
      at += taken;
      if (this.#gathered === segmentBytes) await this.#flush();
    }
  }

  /** Writes the rest; settles once the sink has taken everything. */
  async end(): Promise<Segment[]> {
    if (this.#gathered > 0) await this.#flush();
    await this.#writing;
    return this.#segments;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => {});
    freeBuffers.push(this.#gathering, this.#spare);
  }

  async #flush(): Promise<void> {
    await this.#writing;
    const raw = this.#gathering.subarray(0, this.#gathered);
    [this.#gathering, this.#spare] = [this.#spare, this.#gathering];
    this.#gathered = 0;
    this.#writing = this.#store(raw);
    // Awaited before the next segment; until then, a failure must not become an unhandled rejection.
    this.#writing.catch(() => {});
  }

  async #store(raw: Buffer): Promise<void> {
    const path = `${this.#target.prefix}-${String(++this.#count).padStart(6, "0")}.zst`;
    const compressed = await compress(raw, {
      chunkSize,
      params: { [constants.ZSTD_c_compressionLevel]: compressionLevel },
    });
    const stored = await this.#target.seal.close(compressed, path);
    await this.#target.sink.put(path, stored);
    const sizes = { bytes: stored.length, sha256: sha256(stored), rawBytes: raw.length, rawSha256: sha256(raw) };
    this.#segments.push({ path, ...sizes });
  }
}

/**
 * Reads a segment, and checks it before and after decompression. The first check is necessary because both runtimes
 * accept a truncated stream, and Deno aborts the process on a damaged one.
 *
 * @returns its content, in pieces, because one large buffer would have to be copied together
 * @throws {ScriptError} `ARCHIVE_CORRUPT` (exit 11)
 */
export async function readSegment(dir: string, segment: Segment, seal: Seal): Promise<Buffer[]> {
  const stored = await readFile(join(dir, segment.path)).catch(() => undefined);
  if (stored === undefined) throw corrupt(dir, `${segment.path} is missing.`);
  if (stored.length !== segment.bytes || sha256(stored) !== segment.sha256) {
    throw corrupt(dir, `${segment.path} has changed since it was written.`);
  }
  const pieces = await decompress(await seal.open(stored, segment.path), segment.rawBytes);
  if (pieces === undefined || sha256(...pieces) !== segment.rawSha256) {
    throw corrupt(dir, `The decompressed content of ${segment.path} is not what was written.`);
  }
  return pieces;
}

/** @returns undefined if the content has another length */
async function decompress(compressed: Uint8Array, length: number): Promise<Buffer[] | undefined> {
  const stream = createZstdDecompress({ chunkSize });
  stream.end(compressed);
  const pieces: Buffer[] = [];
  let missing = length;
  for await (const piece of stream as AsyncIterable<Buffer>) {
    missing -= piece.length;
    if (missing < 0) return undefined;
    pieces.push(piece);
  }
  return missing === 0 ? pieces : undefined;
}

export function sha256(...pieces: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}
