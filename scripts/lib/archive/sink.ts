import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder, writeDurably } from "../durable-file.ts";

/** Where the files of an archive go, in the order in which they are written; its manifest is the last. */
export interface ArchiveSink {
  /**
   * Takes a file; settles when there is room for another.
   *
   * @param path its path within the archive, such as `data/0001-000001.zst`
   */
  put(path: string, content: Uint8Array): Promise<void>;
  /** Settles when what was put is there to stay. */
  flush(): Promise<void>;
}

/** Puts files into a folder that is there already. */
export class FolderSink implements ArchiveSink {
  readonly #dir: string;
  readonly #folders = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  async put(path: string, content: Uint8Array): Promise<void> {
    await this.#makeFolder(dirname(path));
    await writeDurably(join(this.#dir, path), content);
  }

  /** A file that was synced may still have no name after a power cut. */
  async flush(): Promise<void> {
    for (const folder of this.#folders) await syncFolder(join(this.#dir, folder));
    await syncFolder(this.#dir);
  }

  async #makeFolder(folder: string): Promise<void> {
    if (folder === "." || this.#folders.has(folder)) return;
    await this.#makeFolder(dirname(folder));
    await mkdir(join(this.#dir, folder), { mode: 0o700 });
    this.#folders.add(folder);
  }
}
