import { link, mkdir, open, rm, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import process from "node:process";
import type { Readable } from "node:stream";
import { createTarDecoder, createTarPacker, type ParsedTarEntry } from "modern-tar";
import { explainCreation, explainFileError, folderUnusable } from "../cli/file-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { syncFolder } from "../durable-file.ts";
import { corrupt, isStoredPath, type Manifest, manifestName } from "./manifest.ts";
import { partialSuffix, removePartials } from "./partial.ts";
import { type ArchiveSink, FolderSink, type PublishedArchive, type WriteFiles } from "./sink.ts";

/** The name that stands for stdin or stdout. */
export const standardStream = "-";

/** No file of an archive is larger: a segment has 4 MB before compression, unless a single row is longer. */
const largestFileBytes = 2 ** 31;

/** Sends the files of an archive as one tar stream. */
class TarSink implements ArchiveSink {
  readonly #packer = createTarPacker();
  readonly #sent: Promise<void>;

  /** @param send settles once there is room for more; if it fails, the next `put` or `close` rejects with its error */
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
      // If sending failed, that error is the cause.
      await this.#sent;
      throw error;
    }
  }

  /** Does nothing: only the receiver can make the files durable, and `close` waits until everything is sent. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#packer.controller.finalize();
    await this.#sent;
  }
}

/**
 * Writes an archive to stdout, as a tar stream.
 *
 * @throws {ScriptError} `FOLDER_UNUSABLE` (exit 9) if the reader has exited or its disk is full
 */
export async function sendTar(write: WriteFiles): Promise<PublishedArchive> {
  const sink = new TarSink(writeToStdout);
  const manifest = await write(sink);
  await sink.close();
  return { path: standardStream, manifest };
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
  const why = "The program that reads it exited before the end (EPIPE).";
  return folderUnusable("stdout", why, "Fix what that program reports, then run both again.");
}

/**
 * Writes an archive as a tar file, under a temporary name until all of it is on disk.
 *
 * First removes the incomplete files that interrupted runs left next to it.
 *
 * @param id the archive's id, which makes the temporary name unique
 * @throws {ScriptError} `ARCHIVE_EXISTS` (exit 2)
 */
export async function publishTar(path: string, id: string, write: WriteFiles): Promise<PublishedArchive> {
  const file = resolve(path);
  const folder = dirname(file);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch(explainCreation(folder));
    await removePartials(folder, `${basename(file)}.`);
    if ((await stat(file).catch(() => undefined)) !== undefined) throw archiveExists(file);
    const manifest = await writeTarFile(file, id, write);
    await syncFolder(folder);
    return { path: file, manifest };
  } catch (error) {
    throw explainFileError(error, folder);
  }
}

async function writeTarFile(file: string, id: string, write: WriteFiles): Promise<Manifest> {
  const partial = `${file}.${id}${partialSuffix}`;
  try {
    await using handle = await open(partial, "wx", 0o600).catch(explainCreation(file));
    const sink = new TarSink((piece) => handle.writeFile(piece));
    const manifest = await write(sink);
    await sink.close();
    await handle.sync();
    // Unlike a rename, a link does not replace a file that was created in the meantime.
    await link(partial, file).catch((error: NodeJS.ErrnoException) => {
      throw error.code === "EEXIST" ? archiveExists(file) : error;
    });
    return manifest;
  } finally {
    await rm(partial, { force: true });
  }
}

function archiveExists(file: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_EXISTS",
    exitCode: exitCodes.usage,
    message: `${file} already exists`,
    fix: "Choose another name, or remove the file.",
  });
}

/**
 * Unpacks a tar stream into a folder. Unpacking is necessary because the manifest comes last, and no file may be used
 * before the whole archive has been checked.
 *
 * @param input a tar file or stdin
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
    throw corrupt(dir, `It is not a tar file, or has changed since it was written: ${(error as Error).message}`);
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
  if (!isOurs) throw corrupt(dir, `It contains ${JSON.stringify(name)}, which is not a file of an archive.`);
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  await sink.put(name, Buffer.concat(pieces));
}
