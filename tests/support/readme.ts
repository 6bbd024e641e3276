import { glob, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { assetsDir } from "../../scripts/lib/paths.ts";

/** A README of the project. */
export interface Readme {
  /** Relative to the project's folder. */
  readonly file: string;
  readonly text: string;
}

/** Folders of packages and of run-time data. */
const skippedFolders = ["node_modules", ".git", "data", "backups"];

/** Every README of the project by its path, except those of packages. */
export async function readReadmes(): Promise<ReadonlyMap<string, Readme>> {
  const readmes = new Map<string, Readme>();
  const options = { cwd: assetsDir, exclude: (path: string) => skippedFolders.includes(basename(path)) };
  const files = (await Array.fromAsync(glob("**/README.md", options))).toSorted();
  for (const file of files) readmes.set(file, { file, text: await readFile(join(assetsDir, file), "utf8") });
  return readmes;
}

/** The fenced blocks of a language, without their fences. */
export function blocksOf({ text }: Readme, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
    ([, block = ""]) => block,
  );
}

/** A line outside fenced blocks. */
export interface ReadmeLine {
  readonly text: string;
  /** From 1. */
  readonly number: number;
}

/** The lines outside fenced blocks. */
export function proseOf({ text }: Readme): ReadmeLine[] {
  const lines: ReadmeLine[] = [];
  let isCode = false;
  for (const [index, line] of text.split("\n").entries()) {
    if (line.startsWith("```")) isCode = !isCode;
    else if (!isCode) lines.push({ text: line, number: index + 1 });
  }
  return lines;
}

/** The cells of a table's row as a reader sees them, links without their targets; undefined for any other line. */
export function cellsOf({ text }: ReadmeLine): string[] | undefined {
  if (!text.startsWith("|") || /^[|\s:-]+$/.test(text)) return undefined;
  const row = text.replace(/^\|/, "").replace(/\|\s*$/, "");
  return row.split(/(?<!\\)\|/).map((cell) => cell.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").trim());
}

/** The first cell of every row of every table. */
export function firstCellsOf(readme: Readme): string[] {
  return proseOf(readme).flatMap((line) => cellsOf(line)?.[0] ?? []);
}

/** The anchors of the headings, as GitHub makes them. */
export function anchorsOf(readme: Readme): Set<string> {
  const headings = proseOf(readme).flatMap(({ text }) => /^#+ (.*)$/.exec(text)?.[1] ?? []);
  return new Set(headings.map(anchorOf));
}

function anchorOf(heading: string): string {
  const words = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
  return words.replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
}
