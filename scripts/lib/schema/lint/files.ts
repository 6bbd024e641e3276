import { readFile } from "node:fs/promises";
import { relative, resolve } from "node:path";
import process from "node:process";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { readSchema } from "../source.ts";
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
 * @throws {ScriptError} `NO_FILE` (exit 2)
 */
export async function readNamedFile(path: string): Promise<LintFile> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw noFile(path, error.code ?? error.message);
  });
  // The parser would not see what is behind it.
  if (text.includes("\0")) throw noFile(path, "it is not a text");
  return { path: shortPath(path), text: text.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n") };
}

/** Relative to the working folder if the file is below it: as an editor or a terminal opens it. */
function shortPath(path: string): string {
  const below = relative(process.cwd(), resolve(path));
  return below.startsWith("..") ? resolve(path) : below;
}

function noFile(path: string, reason: string): ScriptError {
  return new ScriptError({
    code: "NO_FILE",
    exitCode: exitCodes.usage,
    message: `Cannot read ${path}`,
    why: `It is not a file that can be opened (${reason}).`,
    fix: "Name SQL files, or none to check the project's SQL folder (--dir).",
  });
}
