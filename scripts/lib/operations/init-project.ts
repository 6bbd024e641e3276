import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { explainFileError, folderUnusable } from "../cli/file-error.ts";
import { packageScript } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { replaceDurably, writeDurably } from "../durable-file.ts";
import { assetsDir, isClone } from "../paths.ts";
import { isBun, isDeno } from "../runtime.ts";

/** A file that a project needs. */
export interface FileChange {
  /** Relative to the project. */
  readonly path: string;
  readonly isNew: boolean;
  /** What is added, in a few words. */
  readonly detail: string;
  /** The whole content of the file afterwards. */
  readonly content: string;
}

/** What {@link applyChanges} is about to do. */
export interface InitPlan {
  readonly changes: readonly FileChange[];
  /** What the project has to add itself, one sentence each. */
  readonly notes: readonly string[];
}

const sampleDir = join(assetsDir, "infrastructure/project");
const sampleFolder = "cqrs";

/**
 * Determines what a project lacks: a line in `.gitignore`, scripts in its manifest, a sample aggregate, projection and
 * test. Existing files, lines and scripts stay as they are.
 *
 * @throws {ScriptError} `REFUSED` (exit 8) in a clone, `CONFIGURATION` (exit 2) if the manifest cannot be read
 */
export async function planInit(projectDir: string): Promise<InitPlan> {
  if (isClone && projectDir === assetsDir) throw inClone();
  const manifest = await planManifest(projectDir);
  const changes = [await planGitignore(projectDir), ...manifest.changes, ...(await planSample(projectDir, manifest))];
  return { changes: changes.filter((change) => change !== undefined), notes: manifest.notes };
}

/** Writes the files. If this is interrupted, the next run completes it. */
export async function applyChanges(projectDir: string, changes: readonly FileChange[]): Promise<void> {
  for (const { path, isNew, content } of changes) {
    const file = join(projectDir, path);
    try {
      await mkdir(dirname(file), { recursive: true });
      if (isNew) await writeDurably(file, content, 0o644);
      else await replaceFile(file, content);
    } catch (error) {
      throw isExisting(error) ? createdMeanwhile(file) : explainFileError(error, file);
    }
  }
}

function isExisting(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EEXIST";
}

/** Keeps the mode of the file, and a symbolic link that leads to it. */
async function replaceFile(link: string, content: string): Promise<void> {
  const file = await realpath(link);
  await replaceDurably(file, content, (await stat(file)).mode & 0o777);
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw explainFileError(error, file);
  }
}

async function planGitignore(projectDir: string): Promise<FileChange | undefined> {
  const text = await readOptional(join(projectDir, ".gitignore"));
  const isIgnored = text?.split(/\r?\n/).some((line) => /^\/?\.cqrs\/?$/.test(line.trim())) ?? false;
  if (isIgnored) return undefined;
  const lineEnd = lineEndOf(text ?? "");
  const separator = text === undefined || text === "" || text.endsWith("\n") ? "" : lineEnd;
  const content = `${text ?? ""}${separator}.cqrs/${lineEnd}`;
  return { path: ".gitignore", isNew: text === undefined, detail: "ignores .cqrs/", content };
}

function lineEndOf(text: string): string {
  return text.includes("\r\n") ? "\r\n" : "\n";
}

interface ManifestPlan {
  readonly changes: readonly FileChange[];
  readonly notes: readonly string[];
  /** Whether a file `.ts` would be a CommonJS module on Node.js. */
  readonly isCommonJs: boolean;
}

interface Manifest {
  type?: string;
  scripts?: Record<string, string>;
  tasks?: Record<string, unknown>;
}

async function planManifest(projectDir: string): Promise<ManifestPlan> {
  const path = ["package.json", "deno.json", "deno.jsonc"].find((name) => existsSync(join(projectDir, name)));
  if (path === undefined) throw noManifest(projectDir);
  const text = (await readOptional(join(projectDir, path))) ?? "";
  const manifest = parseManifest(text);
  if (manifest === undefined && path === "package.json") throw unreadable(join(projectDir, path));
  if (manifest === undefined) return { changes: [], notes: [tasksByHand(path)], isCommonJs: false };
  const group = path === "package.json" ? "scripts" : "tasks";
  const added = Object.entries(wantedScripts()).filter(([name]) => !isTaken(manifest[group]?.[name]));
  const isCommonJs = group === "scripts" && manifest.type === "commonjs" && !isBun() && !isDeno();
  if (added.length === 0) return { changes: [], notes: [], isCommonJs };
  const changed = { ...manifest, [group]: { ...manifest[group], ...Object.fromEntries(added) } };
  const detail = `${group} ${added.map(([name]) => name).join(", ")}`;
  return { changes: [{ path, isNew: false, detail, content: stringify(changed, text) }], notes: [], isCommonJs };
}

function parseManifest(text: string): Manifest | undefined {
  try {
    const parsed: unknown = JSON.parse(text.slice(markOf(text).length));
    return isObject(parsed) && [parsed["scripts"] ?? {}, parsed["tasks"] ?? {}].every(isObject) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The byte order mark that some editors write on Windows; npm, Bun and Deno accept it. */
function markOf(text: string): string {
  return text.startsWith("\uFEFF") ? "\uFEFF" : "";
}

/** Keeps the file's byte order mark, indentation and line ends. */
function stringify(manifest: Manifest, text: string): string {
  const indentation = /\n([ \t]+)"/.exec(text)?.[1] ?? "  ";
  const json = JSON.stringify(manifest, undefined, indentation) + (text.endsWith("\n") || text === "" ? "\n" : "");
  return markOf(text) + json.replaceAll("\n", lineEndOf(text));
}

/** What `npm init` writes as the script `test` does not count. */
function isTaken(script: unknown): boolean {
  return script !== undefined && !/no test specified/.test(String(script));
}

function wantedScripts(): Record<string, string> {
  return {
    "db:start": packageScript("bootstrap"),
    "db:status": packageScript("status"),
    "db:stop": packageScript("stop"),
    test: testScript(),
  };
}

function testScript(): string {
  if (isDeno()) return "deno test -A";
  return isBun() ? "bun test" : `${nodeLine()} --test`;
}

/** @returns the line that runs the program of the sample; undefined if it was not created */
export function programLine(changes: readonly Pick<FileChange, "path">[]): string | undefined {
  const program = changes.find(({ path }) => basename(path).startsWith("hello."));
  if (program === undefined) return undefined;
  const runtime = isDeno() ? "deno run -A" : isBun() ? "bun" : nodeLine();
  return `${runtime} ${program.path}`;
}

/** Node.js reads TypeScript without a flag since 22.18. */
function nodeLine(): string {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return major > 22 || minor >= 18 ? "node" : "node --experimental-strip-types";
}

/** A folder with files of the project's own gets no sample; an incomplete sample is completed. */
async function planSample(projectDir: string, { isCommonJs }: ManifestPlan): Promise<FileChange[]> {
  const sample = await readSample(isCommonJs);
  const folder = join(projectDir, sampleFolder);
  const existing = await readNames(folder);
  const isOwn = existing.some((name) => !sample.has(name));
  return [...sample].flatMap(([name, { detail, content }]) =>
    isOwn || existing.includes(name) ? [] : [{ path: join(sampleFolder, name), isNew: true, detail, content }],
  );
}

async function readNames(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw explainFileError(error, folder);
  }
}

async function readSample(isCommonJs: boolean): Promise<Map<string, Pick<FileChange, "detail" | "content">>> {
  const sample = new Map<string, Pick<FileChange, "detail" | "content">>();
  for (const [name, detail] of Object.entries(descriptions)) {
    const text = await readFile(join(sampleDir, name), "utf8");
    const content = isCommonJs ? text.replace(/(\.\/[\w./-]+)\.ts\b/g, "$1.mts") : text;
    sample.set(isCommonJs ? name.replace(/\.ts$/, ".mts") : name, { detail, content });
  }
  return sample;
}

const descriptions: Readonly<Record<string, string>> = {
  "cart.ts": "an aggregate",
  "carts.ts": "a projection",
  "cart.test.ts": "their tests",
  "hello.ts": "a program that uses them",
};

function tasksByHand(path: string): string {
  const tasks = Object.entries(wantedScripts()).map(([name, line]) => `"${name}": "${line}"`);
  return `${path} contains comments and stays as it is; add the tasks you want: ${tasks.join(", ")}.`;
}

function inClone(): ScriptError {
  return new ScriptError({
    code: "REFUSED",
    exitCode: exitCodes.refused,
    message: "This is a clone of cqrs-postgres itself; nothing was changed",
    fix: "Name another project: --project <folder>",
  });
}

function noManifest(projectDir: string): ScriptError {
  return new ScriptError({
    code: "NO_PROJECT",
    exitCode: exitCodes.usage,
    message: `${projectDir} has neither a package.json nor a deno.json`,
    fix: "Create one, for example with npm init -y, bun init -y or deno init.",
  });
}

function createdMeanwhile(file: string): ScriptError {
  const why = "It was created in the meantime, or it is a symbolic link that leads nowhere.";
  return folderUnusable(file, why, "Run this again. If nothing changes, remove the link.");
}

function unreadable(file: string): ScriptError {
  return new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: `${file} is not valid; nothing was changed`,
    why: "It must be a JSON object, and its scripts must be one, too.",
    fix: "Correct the file, then run this again.",
  });
}
