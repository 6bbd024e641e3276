import { spawn } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import process from "node:process";
import { portTaken, timedOut } from "../cli/errors.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { replaceDurably } from "../durable-file.ts";
import { assetsDir } from "../paths.ts";
import { choosePort, isPortFree } from "../postgres/server/port.ts";
import { describeProcess, findOnPath, isAlive, type ProcessFacts } from "../process.ts";
import { pollUntil, type WaitLimit } from "../retry.ts";
import { noLogin } from "../secrets/vault/authentication.ts";
import { VaultClient } from "../secrets/vault/client.ts";
import { readSecretFile, writeSecretFile } from "../secrets/vault/delivery.ts";

/** A local Vault that is running and unsealed. */
export interface RunningVault {
  readonly address: string;
  readonly pid: number;
  readonly isStarted: boolean;
  readonly unsealKey: string;
  /** Present only if Vault was just initialised. The caller must revoke it after the set-up. */
  readonly rootToken: string | undefined;
}

const template = join(assetsDir, "infrastructure/vault/server.hcl");
const pollIntervalMs = 50;
const logLines = 12;

/** @returns the folders and files of a stack's local Vault */
export function localVaultFiles(stackDir: string) {
  const folder = join(stackDir, "vault");
  return {
    config: join(folder, "data/server.hcl"),
    data: join(folder, "data/raft"),
    pid: join(folder, "data/vault.pid"),
    log: join(folder, "data/server.log"),
    unsealKey: join(folder, "unseal-key"),
    /** Exists while Vault is being initialised and cannot contain secrets yet. */
    initialising: join(folder, "data/initialising"),
    credentials: join(folder, "credentials"),
  } as const;
}

/**
 * @returns the address of a stack's local Vault; undefined if it was never created, or if its configuration is a copy
 * of another folder's, whose Vault it would lead to
 */
export function localVaultAddress(stackDir: string): string | undefined {
  const { config, data } = localVaultFiles(stackDir);
  const text = existsSync(config) ? readFileSync(config, "utf8") : "";
  const path = /^\s*path\s*=\s*("(?:[^"\\]|\\.)*")/m.exec(text)?.[1];
  if (path === undefined || !isSameFolder(JSON.parse(path), data)) return undefined;
  return /^api_addr\s*=\s*"([^"]+)"/m.exec(text)?.[1];
}

function isSameFolder(one: string, other: string): boolean {
  if (one === other) return true;
  return existsSync(one) && existsSync(other) && realpathSync(one) === realpathSync(other);
}

/**
 * Ensures that the local Vault of a stack is running, initialised and unsealed.
 *
 * @throws {ScriptError} `VAULT_BINARY` (exit 9), `VAULT_FAILED` (exit 3) with the end of its log, `TIMEOUT` (exit 124)
 */
export async function ensureLocalVault(stackDir: string, wait: WaitLimit): Promise<RunningVault> {
  const files = localVaultFiles(stackDir);
  // A run that was killed after it initialised Vault but before it wrote the key left a Vault that cannot be unsealed.
  if (existsSync(files.initialising) && !existsSync(files.unsealKey)) await discard(stackDir, wait);
  await mkdir(files.data, { recursive: true, mode: 0o700 });
  const address = localVaultAddress(stackDir) ?? (await writeConfig(stackDir));
  const running = findLocalVault(stackDir);
  const pid = running ?? (await launch(stackDir, address, wait));
  const client = new VaultClient({ address, login: noLogin(""), limits: patientLimits(wait), signal: wait.signal });
  const rootToken = await initialise(client, stackDir);
  const unsealKey = await readSecretFile(files.unsealKey);
  if (unsealKey === undefined) throw keyMissing(files.unsealKey);
  await unseal(client, unsealKey, wait);
  return { address, pid, isStarted: running === undefined, unsealKey, rootToken };
}

/** @returns the pid of a stack's local Vault; undefined if it is not running */
export function findLocalVault(stackDir: string): number | undefined {
  const files = localVaultFiles(stackDir);
  const pid = existsSync(files.pid) ? Number(readFileSync(files.pid, "utf8")) : 0;
  if (!Number.isSafeInteger(pid) || pid <= 1 || !isAlive(pid)) return undefined;
  return isStartedWith(files.config, describeProcess(pid)) ? pid : undefined;
}

/** A person may have started it by a relative path, or with the folder of the configuration. */
function isStartedWith(config: string, { command, folder }: ProcessFacts): boolean {
  if (command.includes(config)) return true;
  const path = /\s--?config[= ](.+?)(?= -|$)/.exec(command)?.[1];
  // On macOS, the working folder of a process is unknown.
  if (path === undefined || (folder === "" && !isAbsolute(path))) return false;
  return [config, dirname(config)].some((one) => isSameFolder(resolve(folder, path), one));
}

/** @returns the pid that was stopped; undefined if it was not running */
export async function stopLocalVault(stackDir: string, wait: WaitLimit): Promise<number | undefined> {
  const pid = findLocalVault(stackDir);
  if (pid === undefined) return undefined;
  process.kill(pid, "SIGTERM");
  await waitUntil(() => !isAlive(pid), wait, `Vault (pid ${pid}) did not stop`);
  return pid;
}

async function discard(stackDir: string, wait: WaitLimit): Promise<void> {
  await stopLocalVault(stackDir, wait);
  await rm(join(stackDir, "vault/data"), { recursive: true, force: true });
}

async function writeConfig(stackDir: string): Promise<string> {
  const files = localVaultFiles(stackDir);
  const port = await choosePort(`${stackDir}/vault`);
  const clusterPort = await choosePort(
    `${stackDir}/vault/cluster`,
    async (candidate) => candidate !== port && (await isPortFree(candidate)),
  );
  const values = { data: files.data, pid_file: files.pid, port: `${port}`, cluster_port: `${clusterPort}` };
  const text = (await readFile(template, "utf8")).replaceAll(/:\{([a-z_]+)\}/g, (_, name: keyof typeof values) =>
    JSON.stringify(values[name]).slice(1, -1),
  );
  await replaceDurably(files.config, text);
  return `http://127.0.0.1:${port}`;
}

/** Starts Vault in its own session, so that it survives this script, the terminal and Ctrl-C. */
async function launch(stackDir: string, address: string, wait: WaitLimit): Promise<number> {
  const files = localVaultFiles(stackDir);
  const port = Number(new URL(address).port);
  if (!(await isPortFree(port))) throw vaultPortTaken(port, files.config);
  await rm(files.pid, { force: true });
  await using log = await open(files.log, "w", 0o600);
  const child = spawn(findProgram(), ["server", "-config", files.config], {
    detached: true,
    env: { PATH: "/usr/local/bin:/usr/bin:/bin" },
    cwd: "/",
    stdio: ["ignore", log.fd, log.fd],
  });
  const pid = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => resolve(child.pid as number));
  });
  child.unref();
  const isListening = async () => {
    if (!isAlive(pid)) throw serverFailed(files.log, await readFile(files.log, "utf8"));
    return existsSync(files.pid) && !(await isPortFree(port));
  };
  await waitUntil(isListening, wait, "Vault did not start listening");
  return pid;
}

/** @returns the root token; undefined if Vault was already initialised */
async function initialise(client: VaultClient, stackDir: string): Promise<string | undefined> {
  const files = localVaultFiles(stackDir);
  const { initialized } = await client.anonymously({ method: "GET", path: "sys/seal-status" });
  if (initialized === true) return undefined;
  await writeSecretFile(files.initialising, "");
  await rm(files.unsealKey, { force: true });
  const body = { secret_shares: 1, secret_threshold: 1 };
  const request = { method: "PUT", path: "sys/init", body } as const;
  const { keys_base64: keys, root_token: rootToken } = await client.anonymously(request, { isRepeatable: false });
  await writeSecretFile(files.unsealKey, keys[0]);
  await rm(files.initialising);
  return rootToken;
}

async function unseal(client: VaultClient, key: string, wait: WaitLimit): Promise<void> {
  const { sealed } = await client.anonymously({ method: "GET", path: "sys/seal-status" });
  if (sealed === false) return;
  await client.anonymously({ method: "PUT", path: "sys/unseal", body: { key } });
  // A node serves other requests only once it is the leader.
  const isActive = async () => (await client.anonymously({ method: "GET", path: "sys/leader" }))["is_self"] === true;
  await waitUntil(isActive, wait, "Vault did not become active after it was unsealed");
}

function patientLimits({ timeoutMs }: WaitLimit) {
  return { timeoutMs, unreachableMs: timeoutMs, sealedMs: timeoutMs };
}

async function waitUntil(
  check: () => Promise<boolean> | boolean,
  wait: WaitLimit,
  timeoutMessage: string,
): Promise<void> {
  const probe = async () => (await check()) || undefined;
  const found = await pollUntil(probe, { ...wait, intervalMs: pollIntervalMs });
  if (found === undefined) throw timedOut(timeoutMessage, wait.timeoutMs);
}

function findProgram(): string {
  const found = findOnPath("vault", "bao");
  if (found !== undefined) return found;
  throw new ScriptError({
    code: "VAULT_BINARY",
    exitCode: exitCodes.prerequisite,
    message: "There is no Vault to start",
    why: "Neither vault nor bao is on the PATH, and VAULT_ADDR is not set.",
    fix: "Install HashiCorp Vault or OpenBao, set VAULT_ADDR, or omit --secrets vault to keep secrets in files.",
  });
}

function keyMissing(file: string): ScriptError {
  return new ScriptError({
    code: "VAULT_KEY_MISSING",
    exitCode: exitCodes.notReady,
    message: "The local Vault cannot be unsealed",
    why: `The file with its unseal key is missing: ${file}`,
    fix:
      `Restore that file. If it is lost, so are the secrets: run ${runLine("stop")}, remove the stack's folder vault/, and ` +
      `run ${runLine("bootstrap")}, which creates new ones.`,
  });
}

function vaultPortTaken(port: number, config: string): ScriptError {
  return portTaken({
    port,
    holder: "another program",
    why: "The local Vault needs it. Vault keeps its port, because applications have it in their settings.",
    move: `set another port in ${config}`,
  });
}

function serverFailed(file: string, log: string): ScriptError {
  return new ScriptError({
    code: "VAULT_FAILED",
    exitCode: exitCodes.notReady,
    message: "Vault exited during startup",
    why: log.trimEnd().split("\n").slice(-logLines).join("\n") || "It wrote no log.",
    fix: `Fix what its log reports (${file}), then run this again.`,
  });
}
