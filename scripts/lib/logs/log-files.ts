import { type FileHandle, open, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type MaskedText, maxEntry } from "./masked-text.ts";

/** Which lines to show. */
export interface LogChoice {
  /** By default the server, or all containers. */
  readonly service?: string | undefined;
  readonly lines: number;
  readonly follow: boolean;
}

/** A file of a log. */
export interface LogFile {
  readonly path: string;
  readonly modifiedMs: number;
}

/** How much of a file has been shown. */
interface Place {
  readonly offset: number;
  /** How the file began: another beginning means that it was rewritten. */
  readonly head: Buffer;
  readonly modifiedMs: number;
}

const pollMs = 200;
/** As the time of a file that was found and is not shown yet. */
const notShown = -1;
const chunkBytes = 64 * 1024;
/** A line of PostgreSQL begins with the time in milliseconds. */
const headBytes = 64;
const newline = 10;

/** @returns the files of an embedded server's log, the oldest first: its output until it has opened its log, too */
export async function findServerLogs(dataDir: string): Promise<readonly LogFile[]> {
  const folder = join(dataDir, "log");
  const names = await readdir(folder).catch(missingAsUndefined);
  // With another log_directory, it is elsewhere.
  const current = await readFile(join(dataDir, "current_logfiles"), "utf8").catch(() => "");
  const named = /^stderr (.+)$/m.exec(current)?.[1];
  const paths = (names ?? []).filter((name) => name.endsWith(".log")).map((name) => join(folder, name));
  return listLogFiles([...new Set([...paths, ...(named === undefined ? [] : [resolve(dataDir, named)])])]);
}

/** @returns those of the files that exist, the oldest first */
export async function listLogFiles(paths: readonly string[]): Promise<readonly LogFile[]> {
  const found = paths.map(async (path) => {
    const facts = await stat(path).catch(() => undefined);
    return facts === undefined ? [] : [{ path, modifiedMs: facts.mtimeMs }];
  });
  return (await Promise.all(found)).flat().toSorted((one, other) => one.modifiedMs - other.modifiedMs);
}

/** Shows the last lines of a log, then follows it. Whatever file is written to next, it is read to its end first. */
export async function readLogFiles(
  find: () => Promise<readonly LogFile[]>,
  { lines, follow }: LogChoice,
  { signal, text }: { readonly signal: AbortSignal; readonly text: MaskedText },
): Promise<void> {
  const places = await findTail(await find(), lines);
  const isRead = () => showGrowth(places, find, text);
  while ((await isRead()) && follow && !signal.aborted) {
    await sleep(pollMs, undefined, { signal }).catch(() => {});
  }
}

/** @returns where to begin in each file */
async function findTail(files: readonly LogFile[], lines: number): Promise<Map<string, Place>> {
  const places = new Map<string, Place>();
  let missing = lines;
  for (const { path } of files.toReversed()) {
    await using file = await open(path);
    const { offset, found } = await skipToLast(file, missing);
    missing -= found;
    places.set(path, { offset, head: await readHead(file), modifiedMs: notShown });
  }
  return places;
}

/** Reads backwards, because the file may be large. */
async function skipToLast(
  file: FileHandle,
  lines: number,
): Promise<{ readonly offset: number; readonly found: number }> {
  const { size } = await file.stat();
  if (lines === 0 || size === 0) return { offset: size, found: 0 };
  const buffer = Buffer.alloc(chunkBytes);
  let found = 0;
  for (let end = size; end > 0; end -= chunkBytes) {
    const start = Math.max(0, end - chunkBytes);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    for (let at = buffer.lastIndexOf(newline, bytesRead - 1); at >= 0; ) {
      // The last line ends the file; each other newline ends the line before it.
      if (start + at < size - 1 && ++found === lines) return { offset: start + at + 1, found };
      at = at === 0 ? -1 : buffer.lastIndexOf(newline, at - 1);
    }
  }
  return { offset: 0, found: found + 1 };
}

/** @returns false once the reader has closed the pipe */
async function showGrowth(
  places: Map<string, Place>,
  find: () => Promise<readonly LogFile[]>,
  text: MaskedText,
): Promise<boolean> {
  for (const { path, modifiedMs } of await find()) {
    const place = places.get(path);
    if (place?.modifiedMs === modifiedMs) continue;
    await using file = await open(path).catch(missingAsUndefined);
    if (file === undefined) continue;
    await text.continue(path);
    if (place?.modifiedMs === notShown) text.precede(await readBefore(file, place.offset));
    const offset = await showFrom(file, (await isSame(file, place)) ? (place?.offset ?? 0) : 0, text);
    if (offset === undefined) return false;
    places.set(path, { offset, head: await readHead(file), modifiedMs });
  }
  return true;
}

/** @returns what the first line to show may be a part of */
async function readBefore(file: FileHandle, offset: number): Promise<string> {
  const start = Math.max(0, offset - maxEntry);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(offset - start), 0, offset - start, start);
  return (start === 0 ? "\n" : "") + buffer.subarray(0, bytesRead).toString();
}

/** A server truncates the file of a week ago and writes to it again. */
async function isSame(file: FileHandle, place: Place | undefined): Promise<boolean> {
  if (place === undefined || (await file.stat()).size < place.offset) return false;
  const head = await readHead(file);
  return head.subarray(0, place.head.length).equals(place.head);
}

async function readHead(file: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
  return buffer.subarray(0, bytesRead);
}

/** @returns the end of what was shown; undefined once the reader has closed the pipe */
async function showFrom(file: FileHandle, start: number, text: MaskedText): Promise<number | undefined> {
  const buffer = Buffer.alloc(chunkBytes);
  for (let offset = start; ; ) {
    const { bytesRead } = await file.read(buffer, 0, chunkBytes, offset);
    if (bytesRead === 0) return offset;
    if (!(await text.add(buffer.subarray(0, bytesRead)))) return undefined;
    offset += bytesRead;
  }
}

/** The file was removed after it was listed, or the server never ran. */
function missingAsUndefined(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
