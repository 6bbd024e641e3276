import { execFile, spawn, spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { copyProject } from "./project-copy.ts";

const run = promisify(execFile);

/** Why tests of the package are skipped; false if they can run. */
export const packageSkip: string | false =
  spawnSync("npm", ["--version"]).status === 0 ? false : "npm is not on the PATH";

/** What a clone may also hold: none of it may be published. */
const privateFiles = [
  ".env",
  "dist/stale.map",
  "infrastructure/postgres/backups/2026-11-27.tar",
  "infrastructure/postgres/config/server.key",
  "infrastructure/postgres/data/PG_VERSION",
  "infrastructure/secrets/secret/cqrs-spike/database.json",
  "infrastructure/stack.lock.holder",
  "infrastructure/state.json",
  "infrastructure/vault/credentials/cqrs-app.json",
  "infrastructure/vault/data/raft/vault.db",
  "infrastructure/vault/policies/token.txt",
  "infrastructure/vault/unseal-key",
  "sql/app/migrations/0001-customer.sql",
  "sql/dump.sql",
];

/**
 * Packs the product as it is published: `npm pack` in a copy of the clone, which was used before.
 *
 * @returns the tarball
 */
export async function packProduct(folder: string): Promise<string> {
  await using copy = await copyProject();
  for (const name of ["README.md", "LICENSE", "CHANGELOG.md", "tsconfig.build.json"]) {
    await cp(join(assetsDir, name), join(copy.dir, name));
  }
  for (const name of privateFiles) await writeAt(join(copy.dir, name), "private");
  const env = { ...process.env, npm_config_cache: join(copy.dir, ".npm"), npm_config_update_notifier: "false" };
  await run("npm", ["pack", "--pack-destination", folder], { cwd: copy.dir, env });
  const [tarball = ""] = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
  return join(folder, tarball);
}

/** The tarball that the files of a run share; packed here if a file runs by itself. Disposing of it removes the latter. */
export async function sharedPackage(): Promise<AsyncDisposable & { readonly tarball: string }> {
  const shared = process.env["CQRS_TEST_PACKAGE"];
  if (shared !== undefined) return { tarball: shared, async [Symbol.asyncDispose]() {} };
  const folder = await mkdtemp(join(tmpdir(), "cqrs-package-"));
  const tarball = await packProduct(folder);
  return { tarball, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

/** The folder of an application that has the package in node_modules. Disposing of it removes it. */
export interface Application extends AsyncDisposable {
  readonly dir: string;
  /** The unpacked package. */
  readonly packageDir: string;
}

/** A package that the clone has under another name. */
interface InstalledPackage {
  readonly name: string;
  readonly installedAs: string;
}

/**
 * Creates an application. Nothing is downloaded: the other packages are those of the clone.
 *
 * @param packages what is installed besides the package itself
 * @param files what the application consists of, by name
 */
export async function createApplication(
  tarball: string,
  packages: readonly (string | InstalledPackage)[],
  files: Readonly<Record<string, string>>,
): Promise<Application> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-application-"));
  const packageDir = join(dir, "node_modules/cqrs-postgres");
  await installPackage({ dir, packageDir }, tarball, packages);
  const all = { "package.json": JSON.stringify({ name: "application", type: "module", private: true }), ...files };
  for (const [name, text] of Object.entries(all)) await writeAt(join(dir, name), text);
  return { dir, packageDir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

/** Unpacks the package, and links the others to those of the clone. */
export async function installPackage(
  { dir, packageDir }: Pick<Application, "dir" | "packageDir">,
  tarball: string,
  packages: readonly (string | InstalledPackage)[],
): Promise<void> {
  await mkdir(packageDir, { recursive: true });
  await run("tar", ["-xzf", tarball, "--strip-components=1", "-C", packageDir]);
  for (const one of packages) await linkPackage(typeof one === "string" ? { name: one, installedAs: one } : one, dir);
}

async function linkPackage({ name, installedAs }: InstalledPackage, dir: string): Promise<void> {
  const link = join(dir, "node_modules", name);
  await mkdir(dirname(link), { recursive: true });
  await symlink(join(assetsDir, "node_modules", installedAs), link);
}

async function writeAt(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

/** How a program ended. */
export interface ProgramRun {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program with PATH, HOME and the given variables, and no others. */
export function runProgram(
  words: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<ProgramRun> {
  const [program = "", ...args] = words;
  const { PATH = "", HOME = "" } = process.env;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env: { PATH, HOME, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    const written = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        written[name] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, ...written }));
  });
}
