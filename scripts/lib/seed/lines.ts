import { createReadStream } from "node:fs";
import { explainFileError } from "../cli/file-error.ts";
import { wrongFile } from "./failure.ts";

/** A line of a text file. */
export interface Line {
  /** Counted from 1. */
  readonly number: number;
  /** Without its end. */
  readonly text: string;
}

/** More than any event that jsonb can store is worth; it bounds the memory of a file without line ends. */
const maxLineBytes = 64 * 1024 * 1024;
const lineFeed = 0x0a;

/**
 * Reads a text file line by line, in constant memory. A byte order mark and CR before a line's end are left out.
 *
 * @throws {ScriptError} `SEED_FILE` (exit 2) with `file:line` for a line that is not UTF-8, or too long
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  let number = 1;
  for await (const bytes of splitLines(path)) {
    const place = `${path}:${number}`;
    if (bytes === undefined) throw wrongFile(place, `the line is longer than ${maxLineBytes / 1024 ** 2} MB`);
    const text = decode(bytes, place).replace(/\r$/, "");
    yield { number, text: number === 1 ? text.replace(/^\uFEFF/, "") : text };
    number++;
  }
}

/** @throws {ScriptError} `SEED_FILE` (exit 2) if the bytes are not UTF-8 */
export function decode(bytes: Uint8Array, place: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw wrongFile(place, "the line is not UTF-8", "Save the file as UTF-8, then run this again. Nothing was loaded.");
  }
}

/** Yields undefined for a line that is too long. */
async function* splitLines(path: string): AsyncGenerator<Buffer | undefined> {
  let parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of readChunks(path)) {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      yield Buffer.concat([...parts, chunk.subarray(start, end)]);
      [parts, sizeBytes, start] = [[], 0, end + 1];
    }
    parts.push(chunk.subarray(start));
    sizeBytes += chunk.length - start;
    if (sizeBytes > maxLineBytes) return yield undefined;
  }
  if (sizeBytes > 0) yield Buffer.concat(parts);
}

async function* readChunks(path: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>;
  } catch (error) {
    throw explainFileError(error, path);
  }
}
