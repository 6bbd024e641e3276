import { readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import { explainFileError } from "../cli/file-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { didYouMean } from "../cli/suggestion.ts";

/** The set that is part of the product. */
export const demoSet = "demo";

const kinds = ["sql", "ts", "jsonl"] as const;

/** A set of events or statements that a project brings. */
export interface SeedFile {
  readonly set: string;
  readonly kind: (typeof kinds)[number];
  readonly path: string;
}

/**
 * Finds a set by its name: the demo, or a file in the project's `seeds/`.
 *
 * @param sqlDir the project's SQL folder, which need not exist
 * @returns undefined for the demo
 * @throws {ScriptError} `NO_SEED`, or `SEED_AMBIGUOUS` if the name stands for several (exit 2)
 */
export async function findSet(sqlDir: string, set: string): Promise<SeedFile | undefined> {
  const folder = join(sqlDir, "seeds");
  const files = await listSets(folder);
  const found = files.filter((file) => file.set === set);
  const isDemo = set === demoSet;
  if (found.length > (isDemo ? 0 : 1)) throw ambiguous(set, found, isDemo);
  if (isDemo) return undefined;
  if (found[0] !== undefined) return found[0];
  throw await noSet(set, folder, [demoSet, ...files.map((file) => file.set)]);
}

async function listSets(folder: string): Promise<SeedFile[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw explainFileError(error, folder);
  });
  return names.toSorted().flatMap((name) => {
    const kind = kinds.find((one) => extname(name) === `.${one}`);
    if (kind === undefined || name.endsWith(".d.ts")) return [];
    return [{ set: name.slice(0, -extname(name).length), kind, path: join(folder, name) }];
  });
}

function ambiguous(set: string, found: readonly SeedFile[], isDemo: boolean): ScriptError {
  const places = [...(isDemo ? ["the demo of this package"] : []), ...found.map(({ path }) => path)];
  return new ScriptError({
    code: "SEED_AMBIGUOUS",
    exitCode: exitCodes.usage,
    message: `There are several sets ${set}`,
    why: `The name stands for ${places.join(", and for ")}.`,
    fix: "Rename the files until each name stands for one.",
  });
}

async function noSet(set: string, folder: string, sets: readonly string[]): Promise<ScriptError> {
  const suggestion = await didYouMean(set.replace(/\.(sql|ts|jsonl)$/, ""), sets);
  return new ScriptError({
    code: "NO_SEED",
    exitCode: exitCodes.usage,
    message: `There is no set ${JSON.stringify(set)}`,
    why: `Sets: ${sets.join(", ")}.`,
    fix: suggestion ?? `Write ${join(folder, `<set>.${kinds.join("|")}`)}, or choose one of the sets.`,
  });
}
