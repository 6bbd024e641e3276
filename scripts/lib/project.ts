import { existsSync, statSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import process from "node:process";
import { exitCodes, ScriptError } from "./cli/script-error.ts";
import { assetsDir, isClone } from "./paths.ts";
import type { Environment } from "./runtime.ts";

/** Whose stack it is. */
export interface Project {
  /** Contains the project's `.env`; relative paths in settings start here. */
  readonly projectDir: string;
  /** The folder that everything is written to, unless CQRS_STACK_DIR names another. */
  readonly stackDir: string;
  /** The folder of the project's own SQL files, unless CQRS_SQL_DIR names another. */
  readonly sqlDir: string;
}

const manifests = ["package.json", "deno.json", "deno.jsonc"];

/**
 * Finds the project: the folder that was named, exactly; in a clone, the clone; or else, upwards, the nearest folder
 * with a stack, or the nearest with a package.json or deno.json. The search ends at the root of the repository.
 *
 * @param named the value of `--project` or of the option `projectDir`
 * @throws {ScriptError} `NO_PROJECT` (exit 2)
 */
export function findProject(named: string | undefined, environment: Environment): Project {
  const folder = named ?? (environment["CQRS_PROJECT_DIR"] || undefined);
  if (folder !== undefined) return projectAt(requireFolder(folder, named === undefined));
  if (isClone) return projectAt(assetsDir);
  const found = searchProject(defaultStarts()) ?? nearest(dirname(programFile()), [stateFile]);
  if (found !== undefined) return projectAt(found);
  if (needsNoProject(environment)) return projectAt(workingFolder());
  throw noProject(workingFolder());
}

/**
 * Searches upwards, from one folder after the other.
 *
 * @returns the folder of the project; undefined if there is none
 */
export function searchProject(starts: readonly string[]): string | undefined {
  for (const start of starts) {
    const found = nearest(start, [stateFile]) ?? nearest(start, manifests);
    if (found !== undefined) return found;
  }
  return undefined;
}

const stateFile = join(".cqrs", "state.json");

function projectAt(projectDir: string): Project {
  const [stackDir, sqlDir] = isClone && projectDir === assetsDir ? ["infrastructure", "sql/app"] : [".cqrs", "cqrs"];
  return { projectDir, stackDir: join(projectDir, stackDir), sqlDir: join(projectDir, sqlDir) };
}

/**
 * The working folder, then the folder of the program. The latter is no project if the program was installed: npx and
 * bunx install this package's command in a folder with a package.json, which is a cache.
 */
function defaultStarts(): string[] {
  const program = programFile();
  const isInstalled = program.split(sep).includes("node_modules") || program === join(assetsDir, "dist", "bin.js");
  return isInstalled ? [workingFolder()] : [workingFolder(), dirname(program)];
}

/** The program, or the executable that Bun has compiled it to. Without one, code that was passed as an argument runs. */
function programFile(): string {
  const program = process.argv[1] ?? join(workingFolder(), "[eval]");
  return program.startsWith("/$bunfs/") ? process.execPath : program;
}

function nearest(start: string, names: readonly string[]): string | undefined {
  for (const folder of upwards(start)) if (names.some((name) => existsSync(join(folder, name)))) return folder;
  return undefined;
}

/** The folder and those above it, up to the root of the repository; none below node_modules. */
function* upwards(start: string): Generator<string> {
  const [outside = start] = start.split(`${sep}node_modules${sep}`);
  let folder = resolve(outside);
  for (;;) {
    yield folder;
    const parent = dirname(folder);
    if (parent === folder || existsSync(join(folder, ".git"))) return;
    folder = parent;
  }
}

/** Whether the environment says where the secrets are. */
function needsNoProject({ CQRS_STACK_DIR: stackDir = "", VAULT_ADDR, BAO_ADDR }: Environment): boolean {
  return stackDir === resolve(stackDir) || Boolean(VAULT_ADDR || BAO_ADDR);
}

/** @throws {ScriptError} `NO_PROJECT` (exit 2) if the folder was deleted */
function workingFolder(): string {
  try {
    return process.cwd();
  } catch {
    throw new ScriptError({
      code: "NO_PROJECT",
      exitCode: exitCodes.usage,
      message: "The working folder does not exist any more",
      fix: "Go to the folder of your project, or name it with --project or CQRS_PROJECT_DIR.",
    });
  }
}

function requireFolder(folder: string, isVariable: boolean): string {
  const path = folder === "" ? '""' : resolve(workingFolder(), folder);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  throw new ScriptError({
    code: "NO_PROJECT",
    exitCode: exitCodes.usage,
    message: `There is no folder ${path}`,
    why: `${isVariable ? "CQRS_PROJECT_DIR" : "--project"} names the folder of the project.`,
    fix: "Create the folder, or name that of your project.",
  });
}

function noProject(start: string): ScriptError {
  return new ScriptError({
    code: "NO_PROJECT",
    exitCode: exitCodes.usage,
    message: "There is no project here",
    why: `Neither ${start} nor a folder above it has a ${[stateFile, ...manifests].join(", ")}.`,
    fix: "Go to the folder of your project, or name it with --project or CQRS_PROJECT_DIR.",
  });
}
