import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { usageError } from "../cli/errors.ts";
import { nextNumber, numberOf, readSchema } from "./source.ts";

/**
 * Creates the next migration of a project, with a comment to fill in.
 *
 * @param name words in lower case, with hyphens
 * @returns its path
 * @throws {ScriptError} `USAGE` (exit 2) if the name cannot be part of a file name
 */
export async function createMigration(sqlDir: string, name: string): Promise<{ readonly path: string }> {
  const files = await readSchema(sqlDir, "app");
  const fileName = `${nextNumber(files.map((file) => file.name))}-${name}.sql`;
  if (numberOf(`migrations/${fileName}`) === undefined) {
    throw usageError(`${JSON.stringify(name)} is not a name for a migration`, "Use words in lower case, with hyphens.");
  }
  const path = join(sqlDir, "migrations", fileName);
  await mkdir(join(sqlDir, "migrations"), { recursive: true });
  // Two processes do not get the same number: the second one fails.
  await writeFile(path, `-- ${sentence(name)}.\n\n`, { flag: "wx" });
  return { path };
}

function sentence(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
