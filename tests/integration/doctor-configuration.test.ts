import assert from "node:assert/strict";
import { chmod, chown, mkdtemp, readdir, realpath, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { loadConfig } from "../../scripts/lib/config.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import { findStack } from "../../scripts/lib/stack/stack.ts";
import { readState, type StackState, writeState } from "../../scripts/lib/stack/state.ts";
import { type DiagnosedPlace, diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import { unusedPort } from "../support/port.ts";
import { startProgram } from "../support/run-script.ts";
import { silentRun } from "../support/stack.ts";

let projectDir: string;
let project: DiagnosedPlace;

/** The settings of the project, from its `.env` alone. */
const load = () => loadConfig({ project: projectDir, timeout: "60s" }, { environment: {} });
const onlySettings = { areas: ["configuration"] };
const onlySecrets = { areas: ["secret files"] };

before(async () => {
  projectDir = await realpath(await mkdtemp(join(tmpdir(), "cqrs-project-")));
  project = { stackDir: join(projectDir, ".cqrs"), load };
  await bootstrap(load(), silentRun);
});
after(async () => {
  await writeDotEnv("");
  await stopStack(await findStack(load()), silentRun);
  await rm(projectDir, { recursive: true, force: true });
});

async function writeDotEnv(text: string, mode = 0o600): Promise<void> {
  await writeFile(join(projectDir, ".env"), text);
  await chmod(join(projectDir, ".env"), mode);
}

function run(...words: string[]) {
  const [name, ...args] = words;
  return startProgram(`scripts/${name}.ts`, args, { env: { CQRS_PROJECT_DIR: projectDir } }).ended;
}

for (const [name, given, known] of [
  ["CQRS_MODE", "external", "embedded"],
  ["POSTGRES_DB", "other_db", "cqrs_db"],
  ["POSTGRES_USER", "somebody", "cqrs_user"],
  ["POSTGRES_PORT", "1024", "\\d+"],
  ["CQRS_SECRETS", "vault", "file"],
  ["VAULT_ADDR", "http://127.0.0.1:1", "none, since"],
] as const) {
  test(`a .env in which ${name} is at odds with the stack is found until the line is removed`, async () => {
    await writeDotEnv(`OTHER=1\nexport ${name}="${given}"\n`);
    const expected = {
      evidence: new RegExp(`^${name} is ${given}; the stack has ${known}`),
      fix: new RegExp(`Remove ${name} `),
    };
    await finds("env-conflicts", expected, project, onlySettings);
    await writeDotEnv("OTHER=1\n");
    await isHealthy(project);
  });
}

test("--fix does not start a server while .env is at odds with the stack", async () => {
  assert.equal((await run("stop")).exitCode, 0);
  for (const line of ["POSTGRES_DB=other_db", "POSTGRES_USER=somebody"]) {
    await writeDotEnv(`${line}\n`);
    const { findings } = await diagnosePlace(project);
    assert.deepEqual(
      findings.map(({ id, repair }) => [id, repair]),
      [
        ["env-conflicts", undefined],
        ["server-stopped", undefined],
      ],
    );
  }
  await writeDotEnv("");
  await repair(project);
  await isHealthy(project);
});

test("a .env that writes the address of Vault in another way is no conflict", async () => {
  const state = (await readState(project.stackDir)) as StackState;
  await writeState(project.stackDir, { ...state, secrets: "vault", vaultAddress: "http://vault.example.com" });
  for (const address of ["http://vault.example.com/", "HTTP://Vault.Example.com:80", "http://vault.example.com//"]) {
    await writeDotEnv(`VAULT_ADDR=${address}\n`);
    await isHealthy(project, onlySettings);
  }
  for (const address of ["https://vault.example.com", "http://vault.example.com:8200", "http://vault.example.com/v1"]) {
    await writeDotEnv(`VAULT_ADDR=${address}\n`);
    await finds("env-conflicts", { evidence: /^VAULT_ADDR is /, fix: /Remove VAULT_ADDR / }, project, onlySettings);
  }
  await writeState(project.stackDir, state);
  await writeDotEnv("");
});

test("after stop and bootstrap, the stack is as the .env says", async () => {
  const port = await unusedPort();
  await writeDotEnv(`POSTGRES_PORT=${port}\nPOSTGRES_DB=other_db\n`);
  const expected = {
    evidence: /POSTGRES_PORT is[\s\S]*POSTGRES_DB is|POSTGRES_DB is[\s\S]*POSTGRES_PORT is/,
    fix: /stop && bun run bootstrap/,
  };
  await finds("env-conflicts", expected, project, onlySettings);
  for (const words of [["stop"], ["bootstrap", "--yes"]]) assert.equal((await run(...words)).exitCode, 0);
  await isHealthy(project);
});

for (const [what, line] of [
  ["a password", "POSTGRES_PASSWORD='a password'"],
  ["a URL with a password", "DATABASE_URL=postgres://me:secret@db.example.com/db"],
  ["a token", "VAULT_TOKEN=hvs.something"],
] as const) {
  test(`a .env with ${what} that others can read is found, and --fix takes their access`, async () => {
    await writeDotEnv(`${line}\n`, 0o644);
    await finds("env-readable", { evidence: /\.env has the mode 0644/, fix: /chmod 0600 '/ }, project, onlySettings);
    await repair(project, onlySettings);
    assert.equal((await stat(join(projectDir, ".env"))).mode & 0o777, 0o600);
    await isHealthy(project, onlySettings);
    await writeDotEnv("POSTGRES_PASSWORD=\nDATABASE_URL=postgres://me@db.example.com/db\n", 0o644);
    await isHealthy(project, onlySettings);
    await writeDotEnv("");
  });
}

/** A file with a secret, and the folders that it is in. */
async function secretFile(): Promise<string> {
  const folder = join(project.stackDir, "secrets/secret/cqrs-spike/database-local");
  return join(folder, (await readdir(folder))[0] ?? "");
}

test("secrets that others can read or enter are found, and --fix takes their access", async () => {
  const file = await secretFile();
  for (const [path, mode] of [
    [file, 0o644],
    [file, 0o660],
    [join(project.stackDir, "secrets"), 0o755],
  ] as const) {
    const former = (await stat(path)).mode & 0o777;
    await chmod(path, mode);
    assert.notEqual((await run("secrets", "show")).exitCode, 0);
    const expected = { evidence: new RegExp(`mode 0${mode.toString(8)}$`), fix: /chmod -R go= '/ };
    await finds("secret-files-readable", expected, project, onlySecrets);
    await repair(project, onlySecrets);
    assert.equal((await stat(path)).mode & 0o777, former);
    assert.equal((await run("secrets", "show")).exitCode, 0);
  }
  await isHealthy(project);
});

const skip = process.getuid?.() !== 0 && "only root can give files away";

test("secrets of another user are found, and --fix gives them back", { skip }, async () => {
  const file = await secretFile();
  for (const path of [file, join(project.stackDir, "secrets")]) {
    await chown(path, 1234, 1234);
    assert.notEqual((await run("secrets", "show")).exitCode, 0);
    const expected = { evidence: /^This runs as uid 0\. secrets.*: uid 1234/, fix: /^As root, run chown 0 '/ };
    await finds("secret-files-owner", expected, project, onlySecrets);
    await repair(project, onlySecrets);
    assert.equal((await run("secrets", "show")).exitCode, 0);
  }
  await isHealthy(project);
  await chown(project.stackDir, 1234, 1234);
  await chown(file, 1234, 1234);
  await finds("secret-files-owner", { evidence: /uid 1234/, fix: /sudo -u '#1234'/ }, project, onlySecrets);
  for (const path of [project.stackDir, file]) await chown(path, 0, 0);
  await isHealthy(project, onlySecrets);
});
