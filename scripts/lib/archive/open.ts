import { createReadStream } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { addAbortSignal, type Readable } from "node:stream";
import { explainFileError, folderUnusable } from "../cli/file-error.ts";
import { ScriptError } from "../cli/script-error.ts";
import { errorCode } from "../postgres/failure.ts";
import { findArchive } from "./folder.ts";
import { standardStream, unpackTar } from "./tar.ts";

/** An archive whose files can be read. */
export interface OpenArchive {
  /** Its path; `-` for stdin. */
  readonly name: string;
  /** The folder with its files. */
  readonly dir: string;
  /** The folder in which its base is expected, if it is incremental. */
  readonly folder: string;
  /** Whether `dir` is a temporary folder that a tar stream was unpacked into. */
  readonly isUnpacked: boolean;
}

/** Which archive to open. */
export interface ArchiveRequest {
  /** The folder that contains the archives. */
  readonly folder: string;
  /** `latest`, a name in the folder, a path, or `-` for stdin. */
  readonly requested: string;
  readonly signal: AbortSignal;
}

/**
 * Opens an archive for some work. A folder is used in place; a tar stream is unpacked into a temporary folder that only
 * its owner can access. Errors name the tar file or stdin, never that folder.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2), `ARCHIVE_CORRUPT` (exit 11)
 */
export async function withArchive<Result>(
  { folder, requested, signal }: ArchiveRequest,
  work: (opened: OpenArchive) => Promise<Result>,
): Promise<Result> {
  if (requested === standardStream) return withTar({ name: requested, folder, input: process.stdin, signal }, work);
  const name = await findArchive(folder, requested);
  const parent = dirname(name);
  if ((await stat(name)).isDirectory()) return work({ name, dir: name, folder: parent, isUnpacked: false });
  return withTar({ name, folder: parent, input: createReadStream(name), signal }, work);
}

interface TarSource {
  readonly name: string;
  readonly folder: string;
  readonly input: Readable;
  readonly signal: AbortSignal;
}

async function withTar<Result>(
  { name, folder, input, signal }: TarSource,
  work: (opened: OpenArchive) => Promise<Result>,
): Promise<Result> {
  const dir = await makeTemporaryFolder();
  try {
    await unpack(addAbortSignal(signal, input), dir, name);
    return await work({ name, dir, folder, isUnpacked: true });
  } catch (error) {
    signal.throwIfAborted();
    throw nameSource(error, dir, name === standardStream ? "from stdin" : name);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function makeTemporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "cqrs-postgres-archive-")).catch((error: unknown) => {
    const why = `A tar file is unpacked into it, and no folder can be created there (${errorCode(error)}).`;
    throw folderUnusable(tmpdir(), why, "Set TMPDIR to a writable folder.");
  });
}

async function unpack(input: Readable, dir: string, name: string): Promise<void> {
  try {
    await unpackTar(input, dir);
  } catch (error) {
    throw explainFileError(error, name);
  }
}

/** Names the archive in an error about it. Another error, such as that of a full disk, is about the folder itself. */
function nameSource(error: unknown, dir: string, name: string): unknown {
  if (!(error instanceof ScriptError && error.code.startsWith("ARCHIVE_"))) return error;
  const { code, exitCode, message, why, fix } = error;
  return new ScriptError({
    ...{ code, exitCode, message: message.replaceAll(dir, name) },
    ...(why === undefined ? {} : { why: why.replaceAll(dir, name) }),
    ...(fix === undefined ? {} : { fix }),
  });
}
