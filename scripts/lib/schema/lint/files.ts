import { relative, resolve } from "node:path";
import process from "node:process";
import { readSchema, readText } from "../source.ts";
import type { LintFile } from "./lint-file.ts";

/**
 * Reads the files of a project, in the order in which they are applied.
 *
 * @param sqlDir the project's SQL folder, which need not exist
 * @throws {ScriptError} as `readSchema()`
 */
export async function readProjectFiles(sqlDir: string): Promise<LintFile[]> {
  const files = await readSchema(sqlDir, "app");
  return files.map(({ path, text }) => ({ path: shortPath(path), text }));
}

/**
 * Reads a file that was named.
 *
 * @throws {ScriptError} `FILE_TEXT` (exit 2)
 */
export async function readNamedFile(path: string): Promise<LintFile> {
  return { path: shortPath(path), text: await readText(path) };
}

/** Relative to the working folder if the file is below it: as an editor or a terminal opens it. */
function shortPath(path: string): string {
  const below = relative(process.cwd(), resolve(path));
  return below.startsWith("..") ? resolve(path) : below;
}
