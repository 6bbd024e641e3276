import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** The suffix of an archive's name until the archive is complete. */
export const partialSuffix = ".partial";

/**
 * Removes incomplete archives, which interrupted runs left behind.
 *
 * @param prefix the beginning of the names to remove
 */
export async function removePartials(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const isPartial = name.startsWith(prefix) && name.endsWith(partialSuffix);
    if (isPartial) await rm(join(folder, name), { recursive: true, force: true });
  }
}
