import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import { portTaken, timedOut } from "../cli/errors.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { replaceDurably } from "../durable-file.ts";
import { assetsDir } from "../paths.ts";
import { choosePort, isPortFree } from "../postgres/server/port.ts";
import { describeProcess, isAlive } from "../process.ts";
import { pollUntil, type WaitLimit } from "../retry.ts";
import { environment } from "../runtime.ts";
import { noLogin } from "../secrets/vault/authentication.ts";
import { VaultClient } from "../secrets/vault/client.ts";
import { readSecret, writeSecret } from "../secrets/vault/delivery.ts";

/** A local Vault that runs and is unsealed. */
export interface RunningVault {
  readonly address: string;
  readonly pid: number;
  readonly isStarted: boolean;
  readonly unsealKey: string;
  /** Of a Vault that was initialised just now; undefined else. To be revoked once everything is set up. */
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
    /** Stands while it is being initialised, when nothing can be in it yet. */
    initialising: join(folder, "data/initialising"),
    credentials: join(folder, "credentials"),
  } as const;
}

/** @returns where the local Vault of a stack listens; undefined when there never was one */
export function localVaultAddress(stackDir: string): string | undefined {
  const { config } = localVaultFiles(stackDir);
  const text = existsSync(config) ? readFileSync(config, "utf8") : "";
  return /^api_addr\s*=\s*"([^"]+)"/m.exec(text)?.[1];
}

/**
 * Has the local Vault of a stack running, initialised and unsealed.
 *
 * @throws {ScriptError} `VAULT_BINARY` (exit 9), `VAULT_FAILED` (exit 3) with the end of its log, `TIMEOUT` (exit 124)
 */
export async function ensureLocalVault(stackDir: string, wait: WaitLimit): Promise<RunningVault> {
  const files = localVaultFiles(stackDir);
  // A run that was killed between initialising and writing the key down has left a Vault that nobody can open.
  if (existsSync(files.initialising) && !existsSync(files.unsealKey)) await discard(stackDir, wait);
  await mkdir(files.data, { recursive: true, mode: 0o700 });
  const address = localVaultAddress(stackDir) ?? (await writeConfig(stackDir));
  const running = findLocalVault(stackDir);
  const pid = running ?? (await launch(stackDir, address, wait));
  const client = new VaultClient({ address, login: noLogin(""), limits: patient(wait), signal: wait.signal });
  const rootToken = await initialise(client, stackDir);
  const unsealKey = await readSecret(files.unsealKey);
  if (unsealKey === undefined) throw keyMissing(files.unsealKey);
  await unseal(client, unsealKey, wait);
  return { address, pid, isStarted: running === undefined, unsealKey, rootToken };
}

/** @returns the pid of the local Vault of a stack, when it runs */
export function findLocalVault(stackDir: string): number | undefined {
  const files = localVaultFiles(stackDir);
  const pid = existsSync(files.pid) ? Number(readFileSync(files.pid, "utf8")) : 0;
  if (!Number.isSafeInteger(pid) || pid <= 1 || !isAlive(pid)) return undefined;
  return describeProcess(pid).command.includes(files.config) ? pid : undefined;
}

/** @returns the pid that was stopped; undefined when none ran */
export async function stopLocalVault(stackDir: string, wait: WaitLimit): Promise<number | undefined> {
  const pid = findLocalVault(stackDir);
  if (pid === undefined) return undefined;
  process.kill(pid, "SIGTERM");
  await pollFor(`Vault (pid ${pid}) did not stop`, wait, async () => !isAlive(pid));
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

/** Starts it as a process of its own session: it survives this script, the terminal, and Ctrl-C. */
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
  await pollFor("Vault did not begin to listen", wait, async () => {
    if (!isAlive(pid)) throw serverFailed(files.log, await readFile(files.log, "utf8"));
    return existsSync(files.pid) && !(await isPortFree(port));
  });
  return pid;
}

/** @returns the root token of a Vault that was not initialised yet */
async function initialise(client: VaultClient, stackDir: string): Promise<string | undefined> {
  const files = localVaultFiles(stackDir);
  const { initialized } = await client.anonymously({ method: "GET", path: "sys/seal-status" });
  if (initialized === true) return undefined;
  await writeSecret(files.initialising, "");
  await rm(files.unsealKey, { force: true });
  const body = { secret_shares: 1, secret_threshold: 1 };
  const request = { method: "PUT", path: "sys/init", body } as const;
  const { keys_base64: keys, root_token: rootToken } = await client.anonymously(request, { isRepeatable: false });
  await writeSecret(files.unsealKey, keys[0]);
  await rm(files.initialising);
  return rootToken;
}

async function unseal(client: VaultClient, key: string, wait: WaitLimit): Promise<void> {
  const { sealed } = await client.anonymously({ method: "GET", path: "sys/seal-status" });
  if (sealed === false) return;
  await client.anonymously({ method: "PUT", path: "sys/unseal", body: { key } });
  // It has to become the leader of itself before it answers anything else.
  await pollFor("Vault did not become active after it was unsealed", wait, async () => {
    const { is_self: isActive } = await client.anonymously({ method: "GET", path: "sys/leader" });
    return isActive === true;
  });
}

function patient({ timeoutMs }: WaitLimit) {
  return { timeoutMs, unreachableMs: timeoutMs, sealedMs: timeoutMs };
}

async function pollFor(what: string, { timeoutMs, signal }: WaitLimit, isSo: () => Promise<boolean>): Promise<void> {
  const probe = async () => (await isSo()) || undefined;
  const found = await pollUntil(probe, { timeoutMs, signal, intervalMs: pollIntervalMs });
  if (found === undefined) throw timedOut(what, timeoutMs);
}

function findProgram(): string {
  const folders = (environment()["PATH"] ?? "").split(delimiter).filter(Boolean);
  const found = folders.flatMap((folder) => [join(folder, "vault"), join(folder, "bao")]).find(existsSync);
  if (found !== undefined) return found;
  throw new ScriptError({
    code: "VAULT_BINARY",
    exitCode: exitCodes.prerequisite,
    message: "There is no Vault to start",
    why: "Neither vault nor bao is on the PATH, and VAULT_ADDR names no Vault that runs elsewhere.",
    fix: "Install HashiCorp Vault or OpenBao, or set VAULT_ADDR, or leave out --secrets vault: files do as well here.",
  });
}

function keyMissing(file: string): ScriptError {
  return new ScriptError({
    code: "VAULT_KEY_MISSING",
    exitCode: exitCodes.notReady,
    message: "The local Vault can't be unsealed",
    why: `Its key is gone: there is no ${file}.`,
    fix: "Bring that file back. Without it the secrets are lost: stop, remove the folder vault/ of the stack, and bootstrap makes new ones.",
  });
}

function vaultPortTaken(port: number, config: string): ScriptError {
  return portTaken({
    port,
    holder: "another program",
    why: "The local Vault listens there, and its port does not change by itself: applications have it in their settings.",
    move: `set another port in ${config}`,
  });
}

function serverFailed(file: string, log: string): ScriptError {
  return new ScriptError({
    code: "VAULT_FAILED",
    exitCode: exitCodes.notReady,
    message: "Vault ended while it started",
    why: log.trimEnd().split("\n").slice(-logLines).join("\n") || "It wrote no log.",
    fix: `Mend what its log names (${file}); then run this again.`,
  });
}
