import { cp, mkdir, mkdtemp, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { assetsDir } from "../../scripts/lib/paths.ts";

/** A copy of the product. Disposing of it removes it. */
export interface ProjectCopy extends AsyncDisposable {
  readonly dir: string;
}

const product = [
  "scripts",
  "sql",
  "infrastructure/postgres/config",
  "infrastructure/vault",
  "infrastructure/init",
  "infrastructure/project",
  "infrastructure/postgres/superuser-password.sh",
  "docker-compose.yml",
  "package.json",
  "bun.lock",
  "bunfig.toml",
  "tsconfig.json",
];

/**
 * Copies the project, for tests that need their own `.env` or `node_modules`.
 *
 * @param options.packages the packages that are installed in it; all of them by default
 */
export async function copyProject(options: { readonly packages?: readonly string[] } = {}): Promise<ProjectCopy> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), "cqrs-project-")));
  for (const name of product) await cp(join(assetsDir, name), join(dir, name), { recursive: true });
  for (const name of options.packages?.map((name) => join("node_modules", name)) ?? ["node_modules"]) {
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await symlink(join(assetsDir, name), join(dir, name));
  }
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}
