import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Whether Node.js 24 can be installed: its npm package is for Linux on x64. */
export const canRunNode = process.platform === "linux" && process.arch === "x64";

/**
 * Finds Node.js 24 in its npm package.
 *
 * @throws {Error} if the package is not installed
 */
export function locateNode(): string {
  const program = join(dirname(fileURLToPath(import.meta.resolve("node-24/package.json"))), "bin/node");
  if (!existsSync(program)) throw new Error("node-24 is not installed; run bun install");
  return program;
}
