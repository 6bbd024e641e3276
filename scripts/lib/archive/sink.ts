import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder, writeDurably } from "../durable-file.ts";
import type { Manifest } from "./manifest.ts";

/** Receives the files of an archive in the order in which they are written; the manifest comes last. */
export interface ArchiveSink {
  /**
   * Writes a file; settles once the sink can take another.
   *
   * @param path its path within the archive, such as `data/0001-000001.zst`
   */
  put(path: string, content: Uint8Array): Promise<void>;
  /** Settles once all files so far are durable. */
  flush(): Promise<void>;
}

/** Writes the files of an archive into a sink. */
export type WriteFiles = (sink: ArchiveSink) => Promise<Manifest>;

/** A complete archive. */
export interface PublishedArchive {
  /** Its folder or tar file; `-` for stdout. */
  readonly path: string;
  readonly manifest: Manifest;
}

/** Writes files into an existing folder. */
export class FolderSink implements ArchiveSink {
  readonly #dir: string;
  readonly #folders = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  async put(path: string, content: Uint8Array): Promise<void> {
    await this.#ensureFolder(dirname(path));
    await writeDurably(join(this.#dir, path), content);
  }

  /** The files are already synced; this syncs the folders, or a power failure could still lose the files' names. */
  async flush(): Promise<void> {
    for (const folder of this.#folders) await syncFolder(join(this.#dir, folder));
    await syncFolder(this.#dir);
  }

  async #ensureFolder(folder: string): Promise<void> {
    if (folder === "." || this.#folders.has(folder)) return;
    await this.#ensureFolder(dirname(folder));
    await mkdir(join(this.#dir, folder), { mode: 0o700 });
    this.#folders.add(folder);
  }
}
