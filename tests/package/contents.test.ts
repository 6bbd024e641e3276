// What is published: its files, its manifest, and what each entry needs.
import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { after, before, test } from "node:test";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { type Application, createApplication, packageSkip, sharedPackage } from "../support/package.ts";

const skip = packageSkip;

/** All that is published besides compiled scripts and SQL. */
const otherFiles = [
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "bun.lock",
  "dist/lib/postgres/pg-dump/vendor/LICENSE",
  "dist/lib/postgres/pg-dump/vendor/pg_dump.d.ts",
  "dist/lib/postgres/pg-dump/vendor/pg_dump.js",
  "dist/lib/postgres/pg-dump/vendor/pg_dump.wasm",
  "docker-compose.yml",
  "infrastructure/init/Dockerfile",
  "infrastructure/init/Dockerfile.dockerignore",
  "infrastructure/init/keys.sh",
  "infrastructure/postgres/config/postgresql.conf",
  "infrastructure/postgres/superuser-password.sh",
  "infrastructure/project/cart.test.ts",
  "infrastructure/project/cart.ts",
  "infrastructure/project/carts.ts",
  "infrastructure/project/hello.ts",
  "infrastructure/vault/compose-entrypoint.sh",
  "infrastructure/vault/compose.hcl",
  "infrastructure/vault/dynamic/cqrs-dynamic.hcl",
  "infrastructure/vault/dynamic/create.sql",
  "infrastructure/vault/dynamic/revoke.sql",
  "infrastructure/vault/policies/cqrs-app.hcl",
  "infrastructure/vault/policies/cqrs-init.hcl",
  "infrastructure/vault/server.hcl",
  "package.json",
  "sql/schema.sql",
];
const sqlFolders = ["demo", "migrations", "optional", "routines", "verify"];

let shared: Awaited<ReturnType<typeof sharedPackage>>;
let application: Application;
before(async () => {
  if (skip) return;
  shared = await sharedPackage();
  application = await createApplication(shared.tarball, [], {});
});
after(async () => {
  await application?.[Symbol.asyncDispose]();
  await shared?.[Symbol.asyncDispose]();
});

test("a clone that was used publishes the product's files and nothing else", { skip }, async () => {
  const scripts = await filesOf(join(assetsDir, "scripts"), "**/*.ts");
  const compiled = scripts
    .filter((file) => !file.endsWith(".d.ts"))
    .flatMap((file) => [".js", ".d.ts"].map((ending) => `dist/${file.replace(/\.ts$/, ending)}`));
  const sql = await filesOf(assetsDir, `sql/{${sqlFolders.join()}}/**/*.sql`);
  assert.deepEqual(await filesOf(application.packageDir, "**/*"), [...otherFiles, ...compiled, ...sql].toSorted());
});

test("publint and Are the types wrong? have no objection", { skip }, async () => {
  const bytes = await readFile(shared.tarball);
  const tarball = new Uint8Array(bytes).buffer;
  const { messages } = await publint({ pack: { tarball }, strict: true });
  assert.deepEqual(messages, []);
  const analysis = await checkPackage(createPackageFromTarballData(new Uint8Array(bytes)));
  assert.ok(analysis.types !== false, "there are types");
  // The package is for `import`: TypeScript's older way to find modules, and `require()`, are not supported.
  const isRelevant = (kind: string) => kind === "node16-esm" || kind === "bundler";
  const problems = analysis.problems.filter(
    (problem) => !("resolutionKind" in problem) || isRelevant(problem.resolutionKind),
  );
  assert.deepEqual(problems, []);
});

test("the event store needs only postgres and uuidv7, and its declarations only postgres", { skip }, async () => {
  const code = await walk(join(application.packageDir, "dist/lib/index.js"));
  assert.deepEqual(code.packages, ["postgres", "uuidv7"]);
  const types = await walk(join(application.packageDir, "dist/lib/index.d.ts"));
  assert.deepEqual(types.packages, ["postgres"]);
});

test("the declarations of cqrs-postgres/stack are those of the event store and of its own options", {
  skip,
}, async () => {
  const store = await walk(join(application.packageDir, "dist/lib/index.d.ts"));
  const { files, packages } = await walk(join(application.packageDir, "dist/lib/stack/index.d.ts"));
  assert.deepEqual(packages, ["postgres"]);
  assert.deepEqual(
    files.filter((file) => !store.files.includes(file)),
    ["cli/script-error.d.ts", "stack/connect.d.ts", "stack/index.d.ts"],
  );
});

async function filesOf(folder: string, pattern: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of glob(pattern, { cwd: folder, withFileTypes: true })) {
    if (entry.isFile()) files.push(relative(folder, join(entry.parentPath, entry.name)));
  }
  return files.toSorted();
}

interface Imports {
  /** Relative to dist/lib. */
  readonly files: string[];
  /** Without the modules of the runtime. */
  readonly packages: string[];
}

/** Follows all imports of a compiled file, those at run time too. */
async function walk(entry: string): Promise<Imports> {
  const files = new Set([entry]);
  const packages = new Set<string>();
  for (const file of files) {
    for (const target of await importsOf(file)) {
      if (target.startsWith(".")) files.add(resolveFrom(file, target));
      else if (!target.startsWith("node:")) packages.add(target);
    }
  }
  const names = [...files].map((file) => relative(join(application.packageDir, "dist/lib"), file));
  return { files: names.toSorted(), packages: [...packages].toSorted() };
}

/** Declarations keep the names of the TypeScript files. */
function resolveFrom(file: string, target: string): string {
  const path = join(dirname(file), target);
  return file.endsWith(".d.ts") ? path.replace(/(\.d)?\.ts$/, ".d.ts") : path;
}

async function importsOf(file: string): Promise<string[]> {
  const code = (await readFile(file, "utf8")).replaceAll(/\/\*[\s\S]*?\*\//g, "");
  const targets = code.matchAll(/^(?:import|export) (?:[^;"=(]* from )?"([^"]+)"|\bimport\("([^"]+)"\)/gm);
  return [...targets].map(([, fixed, onUse]) => fixed ?? onUse ?? "");
}
