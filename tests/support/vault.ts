import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { unusedPort } from "./port.ts";

/** The version that `build-vault.sh` builds. */
const builtVersion = "1.21.1";
const image = "hashicorp/vault:1.21";
const startTimeoutMs = 60_000;
const pollIntervalMs = 50;

/** How to run a real Vault on this machine. */
export interface VaultProgram {
  /** Where it was found, for the output. */
  readonly origin: string;
  /** The binary; undefined for a container. */
  readonly binary: string | undefined;
  /** The folder of database plugins, if any. */
  readonly pluginDir: string | undefined;
  /** @returns the command that runs a server with this configuration file */
  command(configFile: string): string[];
}

/** A real Vault in its own folder, initialised and unsealed. Disposing of it stops and removes it. */
export interface TestVault extends AsyncDisposable {
  readonly address: string;
  readonly rootToken: string;
  readonly unsealKey: string;
  /** Sends a request with a plain HTTP client and the root token, unless another one is given (`""`: none). */
  request(method: string, path: string, body?: unknown, token?: string): Promise<VaultAnswer>;
  /** Creates a token with its own policy. */
  tokenFor(policy: string, options?: { readonly ttl?: string }): Promise<string>;
  seal(): Promise<void>;
  unseal(): Promise<void>;
  /** Stops the process; its data stays. */
  stop(): Promise<void>;
  /** Starts it again on the same port, sealed. */
  start(): Promise<void>;
}

/** An answer of Vault. */
export interface VaultAnswer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers differ by path, and a test reads what it expects
  readonly body: any;
}

/** The Vault of this machine; undefined if there is none. */
export const vaultProgram: VaultProgram | undefined = findVault();

/** Why tests of Vault are skipped; false if they can run. */
export const vaultSkip: string | false =
  vaultProgram === undefined ? "Vault is not installed: build it with bash tests/support/build-vault.sh" : false;

/** Declares a test that needs a Vault; it is skipped if there is none. */
export function vaultTest(name: string, work: () => Promise<void>): void {
  test(name, { skip: vaultSkip }, work);
}

/**
 * Shares one Vault among the tests of a file, and stops it after them.
 *
 * @returns returns the Vault emptied: unsealed, without engines and AppRoles
 */
export function shareVault(): () => Promise<TestVault> {
  let started: Promise<TestVault> | undefined;
  after(async () => {
    await (await started)?.[Symbol.asyncDispose]();
  });
  return async () => {
    started ??= startVault();
    const vault = await started;
    for (const path of ["sys/mounts/secret", "sys/auth/approle"]) await vault.request("DELETE", path);
    return vault;
  };
}

/** Starts a Vault on a free port of the loopback, with raft storage, and initialises it. */
export async function startVault(): Promise<TestVault> {
  const program = vaultProgram;
  if (program === undefined) throw new Error(`${vaultSkip}`);
  const folder = await mkdtemp(join(tmpdir(), "cqrs-vault-"));
  const port = await unusedPort();
  const configFile = await writeConfig(folder, port, program.pluginDir);
  const server = new VaultProcess(program, configFile, `http://127.0.0.1:${port}`);
  try {
    await server.start();
    const { body } = await ask(server.address, "PUT", "sys/init", { secret_shares: 1, secret_threshold: 1 });
    const vault = testVault(server, folder, body.root_token, body.keys_base64[0]);
    await vault.unseal();
    return vault;
  } catch (error) {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

function testVault(server: VaultProcess, folder: string, rootToken: string, unsealKey: string): TestVault {
  const { address } = server;
  const request: TestVault["request"] = (method, path, body, token = rootToken) =>
    ask(address, method, path, body, token);
  const unseal = async () => {
    await request("PUT", "sys/unseal", { key: unsealKey }, "");
    await until("ready after unsealing", async () => {
      const health = await ask(address, "GET", "sys/health");
      const mounts = await request("GET", "sys/mounts");
      return health.status === 200 && mounts.status === 200;
    });
  };
  return {
    address,
    rootToken,
    unsealKey,
    request,
    unseal,
    async tokenFor(policy, { ttl = "1h" } = {}) {
      const name = `test-${crypto.randomUUID()}`;
      await request("PUT", `sys/policies/acl/${name}`, { policy });
      const { body } = await request("POST", "auth/token/create", { policies: [name], ttl, no_default_policy: true });
      return body.auth.client_token;
    },
    async seal() {
      await request("PUT", "sys/seal");
    },
    stop: () => server.stop(),
    start: () => server.start(),
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function writeConfig(folder: string, port: number, pluginDir: string | undefined): Promise<string> {
  const data = join(folder, "data");
  await mkdir(data);
  const configFile = join(folder, "server.hcl");
  const lines = [
    `storage "raft" { path = ${JSON.stringify(data)} node_id = "test" performance_multiplier = 1 }`,
    `listener "tcp" { address = "127.0.0.1:${port}" cluster_address = "127.0.0.1:${await unusedPort()}" tls_disable = true }`,
    `api_addr = "http://127.0.0.1:${port}"`,
    `cluster_addr = "https://127.0.0.1:${await unusedPort()}"`,
    "disable_mlock = true",
    ...(pluginDir === undefined ? [] : [`plugin_directory = ${JSON.stringify(pluginDir)}`]),
  ];
  await writeFile(configFile, `${lines.join("\n")}\n`);
  return configFile;
}

/** The process of one server. */
class VaultProcess {
  readonly address: string;
  readonly #program: VaultProgram;
  readonly #configFile: string;
  #stop: (() => Promise<void>) | undefined;

  constructor(program: VaultProgram, configFile: string, address: string) {
    this.#program = program;
    this.#configFile = configFile;
    this.address = address;
  }

  async start(): Promise<void> {
    const [program, ...args] = this.#program.command(this.#configFile);
    const child = spawn(program as string, args, { stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        log += text;
      });
    }
    let hasEnded = false;
    const ended = new Promise<void>((resolve) => {
      const end = () => {
        hasEnded = true;
        resolve();
      };
      child.once("close", end).once("error", end);
    });
    this.#stop = async () => {
      if (!hasEnded && child.pid !== undefined) process.kill(child.pid, "SIGTERM");
      await ended;
    };
    await until("listening", async () => {
      if (hasEnded) throw new Error(`Vault exited during start-up\n${log}`);
      return (await ask(this.address, "GET", "sys/seal-status")).status === 200;
    });
  }

  async stop(): Promise<void> {
    await this.#stop?.();
    this.#stop = undefined;
  }
}

async function ask(address: string, method: string, path: string, body?: unknown, token = ""): Promise<VaultAnswer> {
  const response = await fetch(`${address}/v1/${path}`, {
    method,
    headers: token === "" ? {} : { "X-Vault-Token": token },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch(() => undefined);
  if (response === undefined) return { status: 0, body: undefined };
  const text = await response.text();
  return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const wait = { timeoutMs: startTimeoutMs, intervalMs: pollIntervalMs };
  const found = await pollUntil(async () => (await check()) || undefined, wait);
  if (found === undefined) throw new Error(`Vault: ${what}: not so after ${startTimeoutMs} ms`);
}

/** Looks for CQRS_TEST_VAULT, a binary on the PATH, one built by `build-vault.sh`, and a container image, in order. */
function findVault(): VaultProgram | undefined {
  const { CQRS_TEST_VAULT: chosen, PATH = "" } = process.env;
  if (chosen) {
    if (!existsSync(chosen)) throw new Error(`CQRS_TEST_VAULT names ${chosen}, which does not exist`);
    return binaryProgram(chosen, "CQRS_TEST_VAULT");
  }
  const onPath = PATH.split(delimiter).flatMap((folder) => [join(folder, "vault"), join(folder, "bao")]);
  const found = onPath.find((file) => existsSync(file));
  if (found !== undefined) return binaryProgram(found, "PATH");
  const built = join(cacheFolder(), `vault-${builtVersion}`, "vault");
  return existsSync(built) ? binaryProgram(built, "cache") : findContainer();
}

function binaryProgram(binary: string, origin: string): VaultProgram {
  const plugins = join(dirname(binary), "plugins");
  return {
    origin: `${origin}: ${binary}`,
    binary,
    pluginDir: existsSync(plugins) ? plugins : undefined,
    command: (configFile) => [binary, "server", "-config", configFile],
  };
}

/** Uses only an image that is already on this machine. */
function findContainer(): VaultProgram | undefined {
  const { status } = spawnSync("docker", ["image", "inspect", image], { stdio: "ignore" });
  if (status !== 0) return undefined;
  const user = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
  return {
    origin: `container: ${image}`,
    binary: undefined,
    pluginDir: undefined,
    command(configFile) {
      const folder = dirname(configFile);
      const options = ["--rm", "--network=host", `--user=${user}`, `--volume=${folder}:${folder}`];
      return ["docker", "run", ...options, "--entrypoint=vault", image, "server", "-config", configFile];
    },
  };
}

/** The same folder as in `build-vault.sh`. */
function cacheFolder(): string {
  const { CQRS_TEST_CACHE, XDG_CACHE_HOME } = process.env;
  return CQRS_TEST_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "cqrs-postgres");
}

/** Variables with which a script uses a Vault as its administrator. */
export function administratorOf(vault: TestVault): Record<string, string> {
  return { VAULT_ADDR: vault.address, VAULT_TOKEN: vault.rootToken };
}

/** Registers the database plugin, which the official binary includes but a Vault built from source does not. */
export async function registerDatabasePlugin(server: TestVault): Promise<void> {
  const name = "postgresql-database-plugin";
  if (vaultProgram?.pluginDir === undefined) return;
  const sha256 = createHash("sha256")
    .update(await readFile(join(vaultProgram.pluginDir, name)))
    .digest("hex");
  const { status } = await server.request("PUT", `sys/plugins/catalog/database/${name}`, { sha256, command: name });
  if (status !== 204) throw new Error(`Vault rejected the plugin: ${status}`);
}
