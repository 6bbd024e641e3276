import { type FileHandle, link, mkdir, open, rm, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import process from "node:process";
import type { Readable } from "node:stream";
import { createTarDecoder, createTarPacker, type ParsedTarEntry } from "modern-tar";
import { explainFileError, folderUnusable } from "../cli/file-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { syncFolder } from "../durable-file.ts";
import { corrupt, isStoredPath, manifestName } from "./manifest.ts";
import { partialSuffix, removePartials } from "./partial.ts";
import { type ArchiveSink, FolderSink } from "./sink.ts";

/** What stands for stdin or stdout in place of a name. */
export const standardStream = "-";

/** No file of an archive is larger: a segment has 4 MB before compression, but for a row that is longer. */
const largestFileBytes = 2 ** 31;

/** Sends the files of an archive on as one tar stream. */
class TarSink implements ArchiveSink {
  readonly #packer = createTarPacker();
  readonly #sent: Promise<void>;

  /** @param send settles when there is room for more; what it throws fails whoever puts next */
  constructor(send: (piece: Uint8Array) => Promise<void>) {
    this.#sent = (async () => {
      for await (const piece of this.#packer.readable) await send(piece);
    })();
    this.#sent.catch(() => {});
  }

  async put(path: string, content: Uint8Array): Promise<void> {
    try {
      const writer = this.#packer.controller.add({ name: path, size: content.length, mode: 0o600 }).getWriter();
      await writer.write(content);
      await writer.close();
    } catch (error) {
      // The sender's own error tells more.
      await this.#sent;
      throw error;
    }
  }

  /** What has left is the receiver's; all of it has when the sink is closed. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#packer.controller.finalize();
    await this.#sent;
  }
}

/**
 * Has an archive written to stdout, as a tar stream.
 *
 * @throws {ScriptError} `FOLDER_UNUSABLE` (exit 9) when nobody reads it any more, or the disk behind it is full
 */
export async function sendTar(write: (sink: ArchiveSink) => Promise<void>): Promise<void> {
  const sink = new TarSink(writeToStdout);
  await write(sink);
  await sink.close();
}

function writeToStdout(piece: Uint8Array): Promise<void> {
  return new Promise((done, fail) => {
    process.stdout.write(piece, (error) => {
      if (error === null || error === undefined) done();
      else fail(explainStdoutError(error));
    });
  });
}

function explainStdoutError(error: NodeJS.ErrnoException): unknown {
  if (error.code !== "EPIPE") return explainFileError(error, "stdout");
  return folderUnusable("stdout", "Whoever read it has ended. (EPIPE)", "See what that one says, then run both again.");
}

/**
 * Has an archive written as a tar file: under a temporary name, until all of it is on the disk.
 *
 * What earlier runs left under temporary names beside it is removed first.
 *
 * @param id of the archive: makes the temporary name this run's own
 * @returns the file's whole path
 * @throws {ScriptError} `ARCHIVE_EXISTS` (exit 2)
 */
export async function publishTar(
  path: string,
  id: string,
  write: (sink: ArchiveSink) => Promise<void>,
): Promise<string> {
  const file = resolve(path);
  const folder = dirname(file);
  const partial = `${file}.${id}${partialSuffix}`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await removePartials(folder, `${basename(file)}.`);
    if ((await stat(file).catch(() => undefined)) !== undefined) throw exists(file);
    try {
      await using handle = await open(partial, "wx", 0o600);
      await writeTo(handle, write);
      // Unlike a rename it replaces nothing.
      await link(partial, file);
    } finally {
      await rm(partial, { force: true });
    }
    await syncFolder(folder);
    return file;
  } catch (error) {
    throw explainFileError(error, folder);
  }
}

async function writeTo(handle: FileHandle, write: (sink: ArchiveSink) => Promise<void>): Promise<void> {
  const sink = new TarSink((piece) => handle.writeFile(piece));
  await write(sink);
  await sink.close();
  await handle.sync();
}

function exists(file: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_EXISTS",
    exitCode: exitCodes.usage,
    message: `${file} is there already`,
    fix: "Choose another name, or remove it.",
  });
}

/**
 * Unpacks a tar stream into a folder: an archive has to be checked as a whole before anything of it is used, and its
 * manifest comes last.
 *
 * @param input a tar file, or stdin
 * @throws {ScriptError} `ARCHIVE_CORRUPT` (exit 11)
 */
export async function unpackTar(input: Readable, dir: string): Promise<void> {
  const sink = new FolderSink(dir);
  const decoder = createTarDecoder({ strict: true });
  const fed = feed(decoder.writable, input);
  fed.catch(() => {});
  try {
    for await (const entry of decoder.readable) await putEntry(entry, sink, dir);
  } catch (error) {
    input.destroy();
    const explained = explainFileError(error, dir);
    if (explained instanceof ScriptError) throw explained;
    throw corrupt(dir, `It is no tar file, or not as it was written: ${(error as Error).message}`);
  }
  await fed;
}

async function feed(writable: WritableStream<Uint8Array>, input: Readable): Promise<void> {
  const writer = writable.getWriter();
  try {
    for await (const piece of input) await writer.write(piece as Buffer);
    await writer.close();
  } catch (error) {
    await writer.abort(error);
    throw error;
  }
}

async function putEntry({ header, body }: ParsedTarEntry, sink: ArchiveSink, dir: string): Promise<void> {
  const { name, size, type } = header;
  const isOurs = type === "file" && (name === manifestName || isStoredPath(name)) && size <= largestFileBytes;
  if (!isOurs) throw corrupt(dir, `It holds ${JSON.stringify(name)}, which is no file of an archive.`);
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  await sink.put(name, Buffer.concat(pieces));
}
