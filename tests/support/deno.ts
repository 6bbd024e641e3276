import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * Finds the program in Deno's npm package. The package's own entry needs Node.js, which a machine with Bun may lack.
 *
 * @throws {Error} if the package is not installed
 */
export function locateDeno(): string {
  const suffix = process.platform === "linux" ? "-glibc" : "";
  const name = `@deno/${process.platform}-${process.arch}${suffix}`;
  const entry = dirname(fileURLToPath(import.meta.resolve("deno/package.json")));
  const program = join(entry, "..", name, "deno");
  if (!existsSync(program)) throw new Error(`${name} is not installed; run bun install`);
  return program;
}
