import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
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
  const files = await readSchema(sqlDir, "app", { isChecked: false });
  const fileName = `${nextNumber(files.map((file) => file.name))}-${name}.sql`;
  if (numberOf(`migrations/${fileName}`) === undefined) {
    throw usageError(`${JSON.stringify(name)} is not a name for a migration`, "Use words in lower case, with hyphens.");
  }
  const folder = join(sqlDir, "migrations");
  const path = join(folder, fileName);
  await mkdir(folder, { recursive: true });
  await writeFile(path, `-- ${sentence(name)}.\n\n`, { flag: "wx" });
  if (await isAlone(folder, fileName)) return { path };
  await rm(path);
  await sleep(Math.random() * maxPauseMs);
  return createMigration(sqlDir, name);
}

const maxPauseMs = 20;

/** Another process may have created a file with the same number meanwhile. Whichever sees the other one gives way. */
async function isAlone(folder: string, fileName: string): Promise<boolean> {
  const number = fileName.slice(0, 4);
  return (await readdir(folder)).filter((one) => one.startsWith(number)).length === 1;
}

function sentence(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
