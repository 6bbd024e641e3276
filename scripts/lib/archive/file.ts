import { open } from "node:fs/promises";

/** Writes a new file that only its owner may read, and has it on the disk when it settles. */
export async function writeDurably(path: string, content: Uint8Array | string): Promise<void> {
  await using handle = await open(path, "wx", 0o600);
  await handle.writeFile(content);
  await handle.sync();
}

/** Has the names in a folder on the disk: a file that was synced may still have none after a power cut. */
export async function syncFolder(path: string): Promise<void> {
  await using handle = await open(path, "r");
  await handle.sync();
}
