import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Output } from "../../scripts/lib/cli/output.ts";
import { Reporter } from "../../scripts/lib/cli/reporter.ts";
import { type ConfigFlags, loadConfig } from "../../scripts/lib/config.ts";
import { destroyStack } from "../../scripts/lib/operations/destroy.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import type { ConnectionTarget, SessionTarget } from "../../scripts/lib/postgres/target.ts";
import type { Environment } from "../../scripts/lib/runtime.ts";
import { bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import {
  administratorTarget,
  applicationTarget,
  findStack,
  openStack,
  type Stack,
} from "../../scripts/lib/stack/stack.ts";

/** A stack in a folder of its own. Disposing of it stops the server and removes the folder. */
export interface TestStack extends AsyncDisposable {
  readonly stackDir: string;
  readonly dataDir: string;
  /** The superuser, for the stack's database. */
  administrator(): Promise<ConnectionTarget>;
  /** The application's login. */
  application(): Promise<ConnectionTarget & { readonly password: string }>;
}

const silent = new Output({
  isJson: false,
  isQuiet: true,
  isVerbose: false,
  isColored: false,
  isResultColored: false,
  isInteractive: false,
});

/** The context of library functions that report progress. */
export const silentRun = { reporter: new Reporter(silent), signal: new AbortController().signal };

/** Creates the folder of a stack, without a server. */
export async function makeTestStack(): Promise<TestStack> {
  const stackDir = await mkdtemp(join(tmpdir(), "cqrs-test-"));
  const open = () => openTestStack(stackDir);
  return {
    stackDir,
    dataDir: join(stackDir, "postgres/data"),
    administrator: async () => withDatabasePath(await administratorTarget(await open())),
    application: async () => applicationOf(await open()),
    async [Symbol.asyncDispose]() {
      const stack = await findStack(testConfig(stackDir));
      if (stack.mode === "embedded") await stopStack(stack, silentRun);
      await rm(stackDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Bootstraps a stack in this process. */
export async function bootstrapTestStack(stackDir: string, flags: ConfigFlags = {}): Promise<void> {
  await bootstrap(testConfig(stackDir, flags), silentRun);
}

/** Creates and bootstraps a stack, for tests that disturb a whole cluster. */
export async function withCluster(): Promise<TestStack> {
  const stack = await makeTestStack();
  try {
    await bootstrapTestStack(stack.stackDir);
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
  return stack;
}

/** Opens a stack with the default settings. */
export function openTestStack(stackDir: string, flags: ConfigFlags = {}): Promise<Stack> {
  return openStack(testConfig(stackDir, flags));
}

/** Stops and deletes a stack. */
export async function destroyTestStack(stackDir: string): Promise<void> {
  const stack = await openTestStack(stackDir);
  await destroyStack(stack, silentRun);
  await rm(stackDir, { recursive: true, force: true });
}

/** The configuration of a stack; nothing else of this process's environment counts. */
export function testConfig(stackDir: string, flags: ConfigFlags = {}, env: Environment = {}) {
  const sources = { environment: { CQRS_STACK_DIR: stackDir, ...env }, dotEnvFile: join(stackDir, "no.env") };
  return loadConfig({ timeout: "60s", ...flags }, sources);
}

/** The stack that all test files of a lane share; created here if a file runs by itself. */
export async function sharedStack(): Promise<TestStack> {
  const stackDir = process.env["CQRS_TEST_STACK"];
  if (stackDir === undefined) return withCluster();
  return {
    stackDir,
    dataDir: join(stackDir, "postgres/data"),
    administrator: async () => withDatabasePath(await administratorTarget(await openTestStack(stackDir))),
    application: async () => applicationOf(await openTestStack(stackDir)),
    async [Symbol.asyncDispose]() {},
  };
}

/** Tests write the names of their own tables without a schema. */
function withDatabasePath({ searchPath: _, requireScram: __, ...target }: SessionTarget): ConnectionTarget {
  return target;
}

/** The application's login, for any client. */
async function applicationOf(stack: Stack): Promise<ConnectionTarget & { readonly password: string }> {
  const { requireScram: _, ...target } = await applicationTarget(stack);
  return target;
}
