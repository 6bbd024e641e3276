import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

const ownerOnly = 0o600;

/** Creates a file, and resolves once it is on disk. Fails with EEXIST if the file exists. */
export async function writeDurably(
  path: string,
  content: Uint8Array | string,
  mode: number = ownerOnly,
): Promise<void> {
  await using handle = await open(path, "wx", mode);
  await handle.writeFile(content);
  await handle.sync();
}

/** Creates or replaces a file. After a crash at any point it has either the old content or the new one. */
export async function replaceDurably(
  path: string,
  content: Uint8Array | string,
  mode: number = ownerOnly,
): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeDurably(temporary, content, mode);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Syncs the entries of a folder. Without this, even a synced file may lose its name in a power failure. */
export async function syncFolder(path: string): Promise<void> {
  await using handle = await open(path, "r");
  await handle.sync();
}
