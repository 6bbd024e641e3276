import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { type Config, type ConfigFlags, loadConfig } from "../../scripts/lib/config.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { copyProject, type ProjectCopy } from "../support/project-copy.ts";
import { startProgram } from "../support/run-script.ts";
import { runtimeName } from "../support/runtime.ts";

type Variables = Readonly<Record<string, string>>;

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cqrs-config-"));
});
after(() => rm(folder, { recursive: true, force: true }));

async function fileWith(name: string, content: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, content);
  return file;
}

async function load(dotEnv: string, environment: Variables = {}, flags: ConfigFlags = {}): Promise<Config> {
  return loadConfig(flags, { environment, dotEnvFile: await fileWith(".env", dotEnv) });
}

async function problemsOf(dotEnv: string, environment: Variables = {}, flags: ConfigFlags = {}): Promise<string[]> {
  const problems: string[] = [];
  await assert.rejects(load(dotEnv, environment, flags), (error) => {
    assert.ok(error instanceof ScriptError);
    assert.deepEqual([error.code, error.exitCode], ["CONFIGURATION", 2]);
    problems.push(...(error.why ?? "").split("\n"));
    const isOne = problems.length === 1;
    assert.equal(error.message, isOne ? "A setting is invalid" : `${problems.length} settings are invalid`);
    return true;
  });
  return problems;
}

for (const [content, password] of [
  ["from a file\n", "from a file"],
  ["from a file\r\n", "from a file"],
  ["from a file", "from a file"],
  [" spaces stay \n", " spaces stay "],
] as const) {
  test(`loadConfig() reads ${JSON.stringify(content)} from X_FILE as ${JSON.stringify(password)}`, async () => {
    const file = await fileWith("password", content);
    assert.equal((await load("", { POSTGRES_PASSWORD_FILE: file })).password, password);
    assert.equal((await load(`POSTGRES_PASSWORD_FILE=${file}`)).password, password);
  });
}

test("loadConfig() removes only one line end, and checks the content of X_FILE", async () => {
  const file = await fileWith("password", "two line ends\n\n");
  const [problem, ...more] = await problemsOf("", { POSTGRES_PASSWORD_FILE: file });
  assert.match(problem ?? "", /^POSTGRES_PASSWORD must consist of printable ASCII/);
  assert.deepEqual(more, []);
});

test("loadConfig() refuses X and X_FILE together", async () => {
  const file = await fileWith("port", "5432");
  const problem = "POSTGRES_PORT and POSTGRES_PORT_FILE are both set; set only one of them";
  assert.deepEqual(await problemsOf("", { POSTGRES_PORT: "1", POSTGRES_PORT_FILE: file }), [problem]);
  assert.deepEqual(await problemsOf(`POSTGRES_PORT=1\nPOSTGRES_PORT_FILE=${file}`), [problem]);
});

test("loadConfig() names an X_FILE that is missing, empty or a folder", async () => {
  const empty = await fileWith("empty", "\n");
  const problems = await problemsOf("", {
    CQRS_MODE: "external",
    POSTGRES_PASSWORD_FILE: join(folder, "missing"),
    POSTGRES_DB_FILE: folder,
    PGPASSWORD_FILE: empty,
  });
  assert.deepEqual(problems, [
    `POSTGRES_DB_FILE points to a file that cannot be read: ${folder} (EISDIR)`,
    `POSTGRES_PASSWORD_FILE points to a file that cannot be read: ${join(folder, "missing")} (ENOENT)`,
    `PGPASSWORD_FILE points to an empty file: ${empty}`,
  ]);
});

test("loadConfig() does not expand a $ in .env", async () => {
  const literal = `a$POSTGRES_USER\${POSTGRES_USER}$$`;
  const dotEnv = `POSTGRES_USER=who\nPOSTGRES_PASSWORD=${literal}\nPOSTGRES_DB='x$y'\n`;
  const { password, database } = await load(dotEnv, { POSTGRES_USER: "other" });
  assert.equal(password, literal);
  assert.equal(database, "x$y");
});

test("loadConfig() prefers the environment to .env, and a flag to both", async () => {
  const dotEnv = "POSTGRES_DB=dotenv\nPOSTGRES_USER=dotenv\nPOSTGRES_PORT=1\n";
  const environment = { POSTGRES_USER: "environment", POSTGRES_PORT: "2" };
  const { database, user, port } = await load(dotEnv, environment, { port: "3" });
  assert.deepEqual([database, user, port], ["dotenv", "environment", 3]);
});

test("loadConfig() prefers X of one source to X_FILE of the next, and vice versa", async () => {
  const file = await fileWith("database", "from_file");
  assert.equal((await load(`POSTGRES_DB_FILE=${file}`, { POSTGRES_DB: "from_x" })).database, "from_x");
  assert.equal((await load("POSTGRES_DB=from_x", { POSTGRES_DB_FILE: file })).database, "from_file");
});

test("loadConfig() treats an empty variable as absent in every source", async () => {
  const environment = { POSTGRES_DB: "", POSTGRES_DB_FILE: "", POSTGRES_USER: "", POSTGRES_PASSWORD_FILE: "" };
  const { database, user, password } = await load("POSTGRES_DB=dotenv\nPOSTGRES_USER=\n", environment);
  assert.deepEqual([database, user, password], ["dotenv", undefined, undefined]);
});

test("loadConfig() reports the problems of all sources together, each with the flag or variable to blame", async () => {
  const problems = await problemsOf(
    "POSTGRES_USER=pg_me\nCQRS_TIMEOUT=soon\n",
    { POSTGRES_DB: "template0", PGPASSWORD: "x", PGPASSWORD_FILE: "y", PGPORT: "0" },
    { mode: "external", port: "99999" },
  );
  const named = problems.map((problem) => problem.replace(/ (must|and) .*/, ""));
  assert.deepEqual(named, [
    '--port "99999"',
    "POSTGRES_DB",
    "POSTGRES_USER in .env",
    "CQRS_TIMEOUT in .env",
    "PGPORT",
    "PGPASSWORD",
  ]);
});

test("loadConfig() never repeats the value of POSTGRES_PASSWORD in an error", async () => {
  const file = await fileWith("password", "hüdden");
  const given: Variables[] = [
    { POSTGRES_PASSWORD: "hüdden" },
    { POSTGRES_PASSWORD_FILE: file },
    { POSTGRES_PASSWORD: "hüdden", POSTGRES_PASSWORD_FILE: file },
  ];
  for (const environment of given) {
    const problems = (await problemsOf("POSTGRES_PORT=x", environment)).join("\n");
    assert.match(problems, /POSTGRES_PASSWORD/);
    assert.doesNotMatch(problems, /dden/);
  }
});

test("loadConfig() refuses a .env that cannot be read", async () => {
  await mkdir(join(folder, "folder.env"), { recursive: true });
  assert.throws(() => loadConfig({}, { environment: {}, dotEnvFile: join(folder, "folder.env") }), {
    code: "CONFIGURATION",
    message: `Cannot read ${join(folder, "folder.env")} (EISDIR)`,
  });
});

// From here on the tests start whole processes as a user does, because runtimes read .env files by themselves.

let project: ProjectCopy;
before(async () => {
  project = await copyProject();
  await writeFile(join(project.dir, ".env"), "CQRS_STACK_DIR=from$HOME-project\n");
  await mkdir(join(folder, "foreign"));
  await writeFile(join(folder, "foreign/.env"), "CQRS_STACK_DIR=from-foreign\nPOSTGRES_PORT=wrong\nFORCE_COLOR=1\n");
});
after(() => project[Symbol.asyncDispose]());

/** @returns the stack directory that the script `status` of the copy used, relative to the project */
async function stackDirOf(cwd: string, env: Variables, args: readonly string[] = []): Promise<string> {
  const { ended } = startProgram(join(project.dir, "scripts/status.ts"), ["--json", ...args], { cwd, env });
  const { exitCode, stdout, stderr } = await ended;
  assert.equal(exitCode, 3, `${stdout}${stderr}`);
  assert.equal(stderr, "");
  const { dataDirectory } = (JSON.parse(stdout) as { data: { dataDirectory: string } }).data;
  return dataDirectory.replace(`${project.dir}/`, "").replace("/postgres/data", "");
}

const canTellEnvironment = runtimeName === "deno" || process.platform === "linux";
const skipForeign = canTellEnvironment ? false : "Bun adds the working folder's .env to the environment here";

test("a script in the project's folder reads the project's .env, and does not expand a $", async () => {
  assert.equal(await stackDirOf(project.dir, {}), "from$HOME-project");
});

test("a script in another folder reads the project's .env, and no other", { skip: skipForeign }, async () => {
  assert.equal(await stackDirOf(join(folder, "foreign"), {}), "from$HOME-project");
});

test("a script prefers the environment to .env, in any folder", { skip: skipForeign }, async () => {
  for (const cwd of [project.dir, join(folder, "foreign")]) {
    assert.equal(await stackDirOf(cwd, { CQRS_STACK_DIR: "from-environment" }), "from-environment");
    assert.equal(await stackDirOf(cwd, { CQRS_STACK_DIR: "" }), "from$HOME-project");
  }
});

test("a script reports the problems of the project's .env, in any folder", { skip: skipForeign }, async () => {
  await using own = await copyProject();
  await writeFile(join(own.dir, ".env"), "POSTGRES_PORT=not$a$number\nPOSTGRES_PASSWORD=hiddén\n");
  for (const cwd of [own.dir, join(folder, "foreign")]) {
    const run = await startProgram(join(own.dir, "scripts/bootstrap.ts"), ["--port", "5432"], { cwd }).ended;
    assert.deepEqual([run.exitCode, run.stdout], [2, ""]);
    assert.match(run.stderr, /error: A setting is invalid\n {2}why: POSTGRES_PASSWORD in \.env must consist/);
    assert.doesNotMatch(run.stderr, /hidd/);
    const two = await startProgram(join(own.dir, "scripts/status.ts"), [], { cwd }).ended;
    assert.equal(two.exitCode, 2);
    assert.match(two.stderr, /error: 2 settings are invalid\n {2}why: POSTGRES_PORT in \.env must be a number/);
  }
});

test("loadConfig() warns of what it ignores in .env, without its content", async () => {
  const dotEnv =
    "POSTGRES_PROT=1\nPOSTGRES_PASSWORD s3cret\nCQRS_TIMOUT=1s\nMY_APP=1\nVAULT_TOKEN=x\nBAO_TOKEN_FILE=y\n";
  assert.deepEqual((await load(dotEnv, {})).warnings, [
    "line 2 of .env is ignored: it is no assignment such as X=value",
    "POSTGRES_PROT in .env is ignored: no setting of .env has that name",
    "CQRS_TIMOUT in .env is ignored: no setting of .env has that name",
  ]);
});

test("loadConfig() warns of no name in .env that the application may use itself", async () => {
  const others = ["POSTGRES_HOST", "POSTGRES_URL", "POSTGRES_MAX_CONNECTIONS", "VAULT_KV_PATH", "VAULT_MOUNT", "BAO_X"];
  assert.deepEqual((await load(others.map((name) => `${name}=1`).join("\n"), {})).warnings, []);
  for (const name of ["POSTGRES_PORTS", "POSTGRES_PRT", "POSTGRES_PORR", "VAULT_ADRD", "VAULT_TOKENS", "CQRS_OTHER"])
    assert.match(`${(await load(`${name}=1`, {})).warnings}`, new RegExp(`^${name} in \\.env is ignored`));
});

test("loadConfig() accepts every line of .env.example", async () => {
  const example = await readFile(join(assetsDir, ".env.example"), "utf8");
  const names = [...example.matchAll(/^#([A-Z_]+)=/gm)].map(([, name]) => name);
  assert.ok(names.length > 30, names.join());
  assert.deepEqual((await load(names.map((name) => `${name}=`).join("\n"), {})).warnings, []);
});

test("loadConfig() keeps a # in a value, unless a blank is before it", async () => {
  const dotEnv = "POSTGRES_PASSWORD=abc#def\nPOSTGRES_USER=me # comment\nPOSTGRES_DB='a #b' # comment\n";
  const { password, user, database } = await load(dotEnv, {});
  assert.deepEqual([password, user, database], ["abc#def", "me", "a #b"]);
});
