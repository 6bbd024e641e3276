import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { addAbortSignal, type Readable } from "node:stream";
import { explainFileError } from "../cli/file-error.ts";
import { findArchive } from "./folder.ts";
import { standardStream, unpackTar } from "./tar.ts";

/** An archive whose files can be read. */
export interface OpenArchive extends AsyncDisposable {
  /** Its path; `-` for stdin. */
  readonly name: string;
  /** The folder with its files. */
  readonly dir: string;
  /** The folder in which its base is expected, if it is incremental. */
  readonly folder: string;
  /** Whether `dir` is a temporary folder that a tar stream was unpacked into. Disposal removes it. */
  readonly isUnpacked: boolean;
}

/**
 * Opens an archive. A folder is used in place; a tar stream is unpacked into a temporary folder that only its owner can
 * access.
 *
 * @param folder the folder that contains the archives
 * @param requested `latest`, a name in the folder, a path, or `-` for stdin
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2), `ARCHIVE_CORRUPT` (exit 11)
 */
export async function openArchive(folder: string, requested: string, signal: AbortSignal): Promise<OpenArchive> {
  if (requested === standardStream) return unpackTo({ name: requested, folder, label: "stdin" }, process.stdin, signal);
  const name = await findArchive(folder, requested);
  const parent = dirname(name);
  if ((await stat(name)).isDirectory()) {
    return { name, dir: name, folder: parent, isUnpacked: false, [Symbol.asyncDispose]: async () => {} };
  }
  return unpackTo({ name, folder: parent, label: basename(name) }, createReadStream(name), signal);
}

interface UnpackTarget {
  readonly name: string;
  readonly folder: string;
  /** The name of the folder, as errors show it. */
  readonly label: string;
}

async function unpackTo(
  { name, folder, label }: UnpackTarget,
  input: Readable,
  signal: AbortSignal,
): Promise<OpenArchive> {
  const temporary = await mkdtemp(join(tmpdir(), "cqrs-postgres-archive-"));
  const remove = () => rm(temporary, { recursive: true, force: true });
  try {
    const dir = join(temporary, label);
    await mkdir(dir, { mode: 0o700 });
    await unpackTar(addAbortSignal(signal, input), dir);
    return { name, dir, folder, isUnpacked: true, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    signal.throwIfAborted();
    throw explainFileError(error, name);
  }
}
