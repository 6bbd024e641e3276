import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Whether Node.js 24 can be installed: its npm package is for Linux on x64. */
export const canRunNode = process.platform === "linux" && process.arch === "x64";

/**
 * Finds a Node.js in its npm package. Each of these packages has a command `node`, and Bun links the one that comes
 * first in the alphabet: it has to be Node.js 24, on which the compiler runs.
 *
 * @throws {Error} if the package is not installed
 */
export function locateNode(name: "node-24" | "oldest-node" | "unsupported-node" = "node-24"): string {
  const program = join(dirname(fileURLToPath(import.meta.resolve(`${name}/package.json`))), "bin/node");
  if (!existsSync(program)) throw new Error(`${name} is not installed; run bun install`);
  return program;
}
