import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type Config, loadConfig } from "../../scripts/lib/config.ts";
import { chooseAccount } from "../../scripts/lib/postgres/server/account.ts";
import type { Binaries } from "../../scripts/lib/postgres/server/binaries.ts";
import { initialiseCluster, superuser } from "../../scripts/lib/postgres/server/cluster.ts";
import { ensureRunning, stopServer } from "../../scripts/lib/postgres/server/life-cycle.ts";
import { type ConnectionTarget, connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";
import { bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import { openStack, readApplicationSecret, type Stack } from "../../scripts/lib/stack/stack.ts";
import { unusedPort } from "./port.ts";
import { silentRun } from "./stack.ts";

/** A server of a later PostgreSQL, bootstrapped as an external one; removed when it is disposed of. */
export interface LaterServer extends AsyncDisposable {
  readonly application: ConnectionTarget & { readonly password: string };
  /** The superuser, for the application's database. */
  readonly administrator: ConnectionTarget;
  /** Opens the stack that was bootstrapped there. */
  stack(): Promise<Stack>;
  /** @returns the steps that changed something */
  bootstrap(): Promise<string[]>;
}

const wait = { timeoutMs: 60_000, signal: silentRun.signal };

/** @returns why a later PostgreSQL cannot run here; undefined if it can */
export function whyUnavailable(major: number): string | undefined {
  return packageFolder(major) === undefined ? `PostgreSQL ${major} from npm is for Linux on x64 only` : undefined;
}

/** Starts a server of a later PostgreSQL and bootstraps it with `--mode external`. */
export async function withLaterServer(major: number): Promise<LaterServer> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-later-"));
  const dataDir = join(folder, "data");
  const dispose = async () => {
    await stopServer(dataDir, wait);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const administrator = await startServer(dataDir, await otherBinaries(major));
    const config = externalConfig(join(folder, "stack"), administrator);
    await bootstrap(config, silentRun);
    const { database, username, password } = await readApplicationSecret(await openStack(config));
    return {
      application: { ...administrator, database, user: username, password },
      administrator: { ...administrator, database },
      stack: () => openStack(config),
      async bootstrap() {
        const { steps } = await bootstrap(config, silentRun);
        return steps.filter(({ isChanged }) => isChanged).map(({ name, detail }) => `${name}: ${detail}`);
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** A server of an earlier PostgreSQL, which is not supported; removed when it is disposed of. */
export interface EarlierServer extends AsyncDisposable {
  readonly administrator: ConnectionTarget;
}

/** Starts a server of an earlier PostgreSQL. */
export async function withEarlierServer(major: number): Promise<EarlierServer> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-earlier-"));
  const dataDir = join(folder, "data");
  const dispose = async () => {
    await stopServer(dataDir, wait);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    return { administrator: await startServer(dataDir, await otherBinaries(major)), [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function startServer(dataDir: string, binaries: Binaries): Promise<ConnectionTarget> {
  const account = chooseAccount(dataDir);
  const password = generatePassword();
  const server = { dataDir, binaries, account, superuserPassword: password };
  await initialiseCluster(server);
  const { port } = await ensureRunning(server, await unusedPort(), wait);
  return { host: "127.0.0.1", port, database: "postgres", user: superuser, password, tls: "disable" };
}

function externalConfig(stackDir: string, administrator: ConnectionTarget): Config {
  const environment = { CQRS_STACK_DIR: stackDir, DATABASE_URL: connectionUrl(administrator) };
  return loadConfig({ mode: "external", timeout: "60s" }, { environment, dotEnvFile: join(stackDir, "no.env") });
}

async function otherBinaries(major: number): Promise<Binaries> {
  const folder = packageFolder(major) ?? "";
  await linkLibraries(folder);
  const bin = join(folder, "native/bin");
  return { initdb: join(bin, "initdb"), postgres: join(bin, "postgres"), version: `${major}` };
}

function packageFolder(major: number): string | undefined {
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve(`postgresql-${major}`))));
  } catch {
    return undefined;
  }
}

/** Does what the install script of the package does, which neither Bun nor Deno runs. */
async function linkLibraries(folder: string): Promise<void> {
  const text = await readFile(join(folder, "native/pg-symlinks.json"), "utf8");
  for (const { source, target } of JSON.parse(text) as { readonly source: string; readonly target: string }[]) {
    const link = join(folder, target);
    if (!existsSync(link)) await symlink(relative(dirname(link), join(folder, source)), link);
  }
}
