import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Finds Node.js 24 in its npm package, which exists for Linux on x64 only.
 *
 * @throws {Error} if the package is not installed
 */
export function locateNode(): string {
  const program = join(dirname(fileURLToPath(import.meta.resolve("node-24/package.json"))), "bin/node");
  if (!existsSync(program)) throw new Error("node-24 is not installed; run bun install");
  return program;
}
