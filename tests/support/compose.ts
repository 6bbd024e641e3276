import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { type Connection, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { unusedPort } from "./port.ts";
import { copyProject } from "./project-copy.ts";

/** The result of a command. */
export interface CommandRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Variables that differ from the default. */
export type ComposeSettings = Readonly<Record<string, string>>;

/** Containers in a copy of the project, with their own project name and ports. Disposing of it removes everything. */
export interface ComposeStack extends AsyncDisposable {
  readonly dir: string;
  readonly project: string;
  readonly port: number;
  readonly vaultPort: number;
  readonly env: Readonly<Record<string, string>>;
  /** Runs `docker compose …`. */
  compose(...words: string[]): Promise<CommandRun>;
  /** Runs `docker compose …` and fails the test unless it exits with 0. */
  mustCompose(...words: string[]): Promise<string>;
  /** Reads a secret like the init container. */
  secret(path: "database" | "database-local"): Promise<Readonly<Record<string, string>>>;
  /** The application's login, for programs on the host. */
  application(): Promise<ConnectionTarget & { readonly password: string }>;
  /** Does work in a session of the application. */
  withSession<Result>(work: (sql: Connection["sql"]) => Promise<Result>): Promise<Result>;
}

/** Prepares a stack without starting it. */
export async function makeComposeStack(settings: ComposeSettings = {}): Promise<ComposeStack> {
  const copy = await copyProject();
  const { dir } = copy;
  await mkdir(join(dir, "infrastructure/postgres/backups"), { recursive: true });
  const project = settings["COMPOSE_PROJECT_NAME"] ?? `cqrs-test-${randomUUID().slice(0, 8)}`;
  const [port, vaultPort] = [await unusedPort(), await unusedPort()];
  const env = {
    ...inherited(),
    COMPOSE_PROJECT_NAME: project,
    POSTGRES_PORT: `${port}`,
    VAULT_PORT: `${vaultPort}`,
    ...settings,
  };
  const compose = (...words: string[]) => run("docker", ["compose", "--ansi=never", ...words], { cwd: dir, env });
  const mustCompose = async (...words: string[]) => mustRun(words.join(" "), await compose(...words));
  const secret = async (path: string) =>
    JSON.parse(await mustCompose("exec", "-T", "vault", "sh", "-c", readSecret, "sh", path)).data.data;
  const application = async () => {
    const { host, port, database, username, password } = await secret("database-local");
    return { host, port: Number(port), database, user: username, password };
  };
  return {
    dir,
    project,
    port,
    vaultPort,
    env,
    compose,
    mustCompose,
    secret,
    application,
    async withSession(work) {
      await using connection = openConnection(await application());
      return await work(connection.sql);
    },
    async [Symbol.asyncDispose]() {
      await compose("--profile", "tools", "down", "--volumes", "--remove-orphans", "--timeout", "5");
      await run("docker", ["image", "rm", "--force", `${project}-init`], { env });
      // Contains files that the containers wrote as other users.
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Prepares a stack and starts it. */
export async function startComposeStack(settings?: ComposeSettings): Promise<ComposeStack> {
  const stack = await makeComposeStack(settings);
  const { exitCode, stderr } = await stack.compose("up", "--wait", "--quiet-pull");
  if (exitCode === 0) return stack;
  const logs = await stack.compose("logs", "--tail=40");
  await stack[Symbol.asyncDispose]();
  throw new Error(`up --wait exited with ${exitCode}\n${stderr}\n${logs.stdout}`);
}

/** Runs a program and returns its result, whatever its exit code. */
export function run(
  program: string,
  words: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<CommandRun> {
  const { cwd = assetsDir, env = inherited() } = options;
  return new Promise((resolve) => {
    execFile(program, words, { cwd, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === "number" ? error.code : error === null ? 0 : 1, stdout, stderr });
    });
  });
}

/** @throws {Error} with both streams unless the command exited with 0 */
export function mustRun(what: string, { exitCode, stdout, stderr }: CommandRun): string {
  if (exitCode !== 0) throw new Error(`${what} exited with ${exitCode}\n${stdout}${stderr}`);
  return stdout;
}

/** Polls a condition until it holds. */
export async function until(what: string, check: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const found = await pollUntil(async () => (await check()) || undefined, { timeoutMs, intervalMs: 100 });
  if (found === undefined) throw new Error(`not so after ${timeoutMs} ms: ${what}`);
}

/** @returns "starting", "healthy", "unhealthy" */
export async function health({ project, env }: ComposeStack, service: string): Promise<string> {
  const words = ["inspect", "--format", "{{.State.Health.Status}}", `${project}-${service}`];
  return (await run("docker", words, { env })).stdout.trim();
}

/** Runs in Vault's container: logs in like init and reads a secret. */
const readSecret = `
  cd /keys/init && vault=$(command -v vault || command -v bao) && export VAULT_ADDR=http://127.0.0.1:8200
  VAULT_TOKEN=$($vault write -field=token auth/approle/login role_id=@cqrs-init.role-id secret_id=@cqrs-init.secret-id) \\
    $vault kv get -format=json "secret/cqrs-spike/$1"`;

function inherited(): Record<string, string> {
  const names = ["PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "POSTGRES_IMAGE", "VAULT_IMAGE", "BUN_IMAGE"];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name] as string]] : [])));
}
