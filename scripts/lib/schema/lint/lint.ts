import { readSchema } from "../source.ts";
import { Catalog } from "./catalog.ts";
import { type LintFile, lintFile, recordFile } from "./lint-file.ts";
import type { Finding } from "./rule.ts";

/** What a run has found. */
export interface LintResult {
  readonly findings: readonly Finding[];
  /** Number of files that were checked. */
  readonly checked: number;
}

/**
 * Checks the files of a project, without a database.
 *
 * @param files those of the project, in the order in which they are applied
 * @param isWanted which of them to report; the others only tell which tables exist
 */
export async function lintFiles(
  files: readonly LintFile[],
  isWanted: (file: LintFile) => boolean = () => true,
): Promise<LintResult> {
  const catalog = await productCatalog();
  const findings: Finding[] = [];
  for (const file of files) {
    const found = await lintFile(file, catalog, "app");
    if (isWanted(file)) findings.push(...found);
  }
  return { findings, checked: files.filter(isWanted).length };
}

let recorded: Promise<Catalog> | undefined;

/** @returns the objects that the product's files create; they are read once */
async function productCatalog(): Promise<Catalog> {
  recorded ??= recordProduct();
  return (await recorded).copy();
}

async function recordProduct(): Promise<Catalog> {
  const catalog = new Catalog();
  for (const file of await readSchema()) await recordFile(file, catalog);
  return catalog;
}
