import { stat } from "node:fs/promises";
import { join } from "node:path";
import { noArchive } from "../archive/folder.ts";
import { runLine } from "../cli/run-line.ts";
import type { Stack } from "../stack/stack.ts";

/** @returns the folder in which a stack keeps its archives */
export function backupsDir(stack: Stack): string {
  return join(stack.stackDir, "postgres/backups");
}

/**
 * Chooses the folder to read archives from.
 *
 * @param from a folder that must exist; the stack's own, which need not exist, if undefined
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2) if `from` does not exist
 */
export async function findBackupsDir(stack: Stack, from: string | undefined): Promise<string> {
  if (from === undefined) return backupsDir(stack);
  const found = await stat(from).catch((reason: NodeJS.ErrnoException) => reason);
  if (!("code" in found) || found.code !== "ENOENT") return from;
  throw noArchive(
    `The folder ${from} does not exist`,
    `Pass another folder to --from, or run ${runLine("backup")} --to ${from}, which creates it.`,
  );
}
