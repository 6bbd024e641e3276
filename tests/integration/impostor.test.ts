import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { localVaultAddress, stopLocalVault } from "../../scripts/lib/stack/local-vault.ts";
import {
  type Answer,
  clearTextRequest,
  loginAccepted,
  md5Request,
  message,
  openFakeServer,
} from "../support/fake-server.ts";
import { runScript, startProgram, startScript } from "../support/run-script.ts";
import { openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";
import { localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";

let stack: TestStack;
/** The passwords of the application and of the administrator. */
let passwords: readonly string[];
let port: number;

before(async () => {
  stack = await withCluster();
  const { port: own, password } = await stack.application();
  port = own;
  passwords = [password, (await stack.administrator()).password ?? ""];
  // A server that is killed leaves this file behind, so nothing shows that another program took its port.
  const pidFile = join(stack.dataDir, "postmaster.pid");
  const content = await readFile(pidFile);
  await stopStack(await openTestStack(stack.stackDir), silentRun);
  await writeFile(pidFile, content);
});
after(() => stack?.[Symbol.asyncDispose]());

/** Commands that use the application's login, and those that use the administrator's. */
const asApplication = ["seed", "projections list", "projections run --once", "projections remove order_summary --yes"];
const asAdministrator = [
  "psql",
  "psql --admin",
  "status",
  "status --env",
  "verify",
  "backup",
  "restore latest --yes",
  "reset --yes",
  "schema status",
  "schema apply",
  "secrets rotate",
  "secrets sweep",
];

const scramRequest = message("R", Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.from("SCRAM-SHA-256\0\0")]));

/** Asks for SCRAM, does not prove that it knows the password, and accepts the login. */
const withoutProof: Answer = (socket, index, data) => {
  if (index === 0) return void socket.write(scramRequest);
  if (index > 1) return void socket.write(loginAccepted);
  const [, nonce] = /r=(.+)$/.exec(data.toString("latin1")) ?? [];
  const challenge = `r=${nonce}x,s=${Buffer.from("salt").toString("base64")},i=4096`;
  socket.write(message("R", Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from(challenge)])));
};

const impostors: readonly (readonly [string, Answer])[] = [
  ["asks for the password in clear text", (socket) => socket.write(clearTextRequest)],
  ["asks for an MD5 hash", (socket) => socket.write(md5Request)],
  ["asks for nothing", (socket) => socket.write(loginAccepted)],
  ["asks for SCRAM and proves nothing", withoutProof],
];

for (const [what, answer] of impostors) {
  test(`a program on the port of a stopped server that ${what} gets no password and no statement`, async () => {
    await using impostor = await openFakeServer(answer, port);
    for (const words of asApplication) {
      const { exitCode, stderr } = await runScript(words.split(" "), stack);
      assert.match(stderr, /INSECURE_AUTHENTICATION/, words);
      assert.equal(exitCode, 6, words);
    }
    const connected = startProgram("tests/support/fixtures/connects.ts", [], {
      env: { CQRS_STACK_DIR: stack.stackDir },
    });
    assert.match((await connected.ended).stderr, /INSECURE_AUTHENTICATION/);
    const waiting = startScript(["wait-for", "postgres"], stack);
    await waiting.saw("INSECURE_AUTHENTICATION");
    waiting.kill("SIGTERM");
    await waiting.ended;
    assert.ok(impostor.connections >= asApplication.length);
    const received = impostor.received().toString("latin1");
    for (const secret of passwords) assert.equal(received.includes(secret), false);
    assert.doesNotMatch(received, /select|insert|order_summary/i);
  });
}

test("the administrator's login goes only to a process that was recognised, whatever listens on its port", async () => {
  await using impostor = await openFakeServer((socket) => socket.write(clearTextRequest), port);
  for (const words of asAdministrator) {
    const { exitCode, stderr } = await runScript(words.split(" "), stack);
    assert.ok(exitCode === 3 || exitCode === 2, `${words} exited with ${exitCode}\n${stderr}`);
  }
  assert.equal(impostor.connections, 0);
});

test("a program of another user that poses as the server's process is neither believed nor stopped", {
  skip: process.platform !== "linux",
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-impostor-"));
  await chmod(folder, 0o755);
  await symlink(join(stack.dataDir, "PG_VERSION"), join(folder, "PG_VERSION"));
  const poser = pose(folder, process.getuid?.() === 0 ? 65_534 : undefined);
  try {
    await using impostor = await openFakeServer((socket) => socket.write(loginAccepted), port);
    for (const words of [...asAdministrator, "stop", "bootstrap"]) {
      const { exitCode, stderr } = await runScript(words.split(" "), stack);
      assert.notEqual(exitCode, 8, `${words}\n${stderr}`);
      assert.doesNotMatch(stderr, /PID_FILE_LOST|INSECURE_AUTHENTICATION/, words);
    }
    assert.doesNotMatch(impostor.received().toString("latin1"), /postgres|select/i);
    assert.equal(isAlive(poser.pid as number), true);
  } finally {
    poser.kill("SIGKILL");
    await rm(folder, { recursive: true });
  }
});

test("the administrator's session demands SCRAM of what listens on the port of a server that is shutting down", {
  skip: process.platform !== "linux",
}, async () => {
  const server = pose(stack.dataDir);
  try {
    for (const [what, answer] of impostors) {
      await using impostor = await openFakeServer(answer, port);
      for (const words of ["status", "backup", "secrets rotate", "schema apply", "reset --yes", "psql --admin"]) {
        const { exitCode, stderr } = await runScript(words.split(" "), stack);
        assert.match(stderr, /INSECURE_AUTHENTICATION/, `${words} (${what})`);
        assert.equal(exitCode, 6, words);
      }
      const received = impostor.received().toString("latin1");
      assert.ok(impostor.connections > 0);
      assert.doesNotMatch(received, /select|set_config|alter/i, what);
      for (const secret of passwords) assert.equal(received.includes(secret), false);
    }
  } finally {
    server.kill("SIGKILL");
  }
});

/** A program that looks like the server of the stack. */
function pose(cwd: string, uid?: number): ChildProcess {
  const args = ["-c", "read line; :", "-D", stack.dataDir];
  return spawn("sh", args, {
    argv0: "postgres",
    cwd,
    ...(uid === undefined ? {} : { uid }),
    stdio: ["pipe", "ignore", "ignore"],
  });
}

test("a program on the port of a stopped local Vault gets no credentials, whatever the command", {
  skip: localVaultSkip,
}, async () => {
  await using vaultStack = await makeVaultStack();
  await vaultStack.data("bootstrap", "--secrets", "vault");
  await stopLocalVault(vaultStack.stackDir, { timeoutMs: 30_000, signal: new AbortController().signal });
  const requests: string[] = [];
  const impostor = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers["x-vault-token"]}`);
    response.end(JSON.stringify({ auth: { client_token: "t" }, data: { data: {}, metadata: { version: 1 } } }));
  });
  const { port: vaultPort } = new URL(localVaultAddress(vaultStack.stackDir) ?? "");
  await new Promise<void>((resolve) => impostor.listen(Number(vaultPort), "127.0.0.1", resolve));
  try {
    for (const words of [...asApplication, ...asAdministrator, ...ofVault]) {
      await vaultStack.run(...words.split(" "));
      assert.deepEqual(requests, [], words);
    }
    const connected = startProgram("tests/support/fixtures/connects.ts", [], {
      env: { CQRS_STACK_DIR: vaultStack.stackDir },
    });
    assert.notEqual((await connected.ended).exitCode, 0);
    assert.deepEqual(requests, []);
  } finally {
    await new Promise((resolve) => impostor.close(resolve));
  }
});

const ofVault = [
  "secrets show",
  "secrets status",
  "secrets init",
  "secrets migrate",
  "secrets dynamic",
  "backup --encrypt",
  "bootstrap",
  "destroy --yes",
];
