import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** The suffix of an archive's name while the archive is incomplete. */
export const partialSuffix = ".partial";

/**
 * Removes incomplete archives that interrupted runs left behind.
 *
 * @param prefix only names with this prefix are removed
 */
export async function removePartials(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const isPartial = name.startsWith(prefix) && name.endsWith(partialSuffix);
    if (isPartial) await rm(join(folder, name), { recursive: true, force: true });
  }
}
