import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { StepResult } from "../cli/reporter.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { chooseAccount } from "../postgres/server/account.ts";
import { findBinaries } from "../postgres/server/binaries.ts";
import {
  type EmbeddedServer,
  initialiseCluster,
  inspectCluster,
  readConfiguredPort,
  removeLeftovers,
  superuser,
} from "../postgres/server/cluster.ts";
import { ensureRunning } from "../postgres/server/life-cycle.ts";
import { choosePort, startOnNewPort } from "../postgres/server/port.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import type { SessionTarget } from "../postgres/target.ts";
import { environment } from "../runtime.ts";
import { requireKey, secretPaths } from "../secrets/application-secret.ts";
import { generatePassword } from "../secrets/password.ts";
import { readClusterIdentity } from "./identity.ts";
import { rememberedSecrets } from "./secret-store.ts";
import { newestVersion } from "./skew.ts";
import { type BootstrapRun, type RunContext, type Stack, waitLimit } from "./stack.ts";
import { writeState } from "./state.ts";

/**
 * Ensures that the embedded server of a stack is running: initialises the cluster if there is none, and starts the
 * server or adopts a running one.
 *
 * @param settings lines of `postgresql.conf` that override those of the project
 * @returns the stack's database, with the superuser's login
 */
export async function startEmbeddedServer(stack: Stack, run: BootstrapRun, settings = ""): Promise<SessionTarget> {
  const account = chooseAccount(stack.dataDir);
  const isInitialised = (await inspectCluster(stack.dataDir)) === "initialised";
  await removeLeftovers(stack.dataDir);
  await mkdir(dirname(stack.dataDir), { recursive: true });
  const binaries = await findBinaries(account, environment());
  run.reporter.verbose(`PostgreSQL ${binaries.version} at ${binaries.postgres}, run as ${account.description}`);
  const known = await findServerPort(stack);
  const password = await ensureSuperuserPassword(stack);
  const server: EmbeddedServer = { dataDir: stack.dataDir, binaries, account, superuserPassword: password, settings };
  await run.step("cluster", async () => {
    if (isInitialised) return { isChanged: false, detail: `${stack.dataDir} exists` };
    await initialiseCluster(server);
    return { isChanged: true, detail: `created ${stack.dataDir} with PostgreSQL ${binaries.version}` };
  });
  let port = known ?? 0;
  await run.step("server", async () => {
    if (known !== undefined) return start(stack, run, server, known);
    const started = await startOnNewPort(
      () => choosePort(stack.stackDir),
      (chosen) => start(stack, run, server, chosen),
    );
    port = started.port;
    return started.result;
  });
  // The secret of an adopted stack may still lead to the server of the original.
  if (!stack.isAdopting) await saveEmbeddedState(stack, port);
  return { host: "127.0.0.1", port, database: stack.database, user: superuser, password, requireScram: true };
}

async function start(stack: Stack, run: RunContext, server: EmbeddedServer, port: number): Promise<StepResult> {
  const { how, pid, isPasswordReset } = await ensureRunning(server, port, waitLimit(stack, run));
  const reset = isPasswordReset ? "; reset the superuser's password" : "";
  if (how === "adopted") {
    return { isChanged: isPasswordReset, detail: `running on port ${port} (pid ${pid})${reset}` };
  }
  const { version } = server.binaries;
  return { isChanged: true, detail: `started PostgreSQL ${version} on port ${port} (pid ${pid})${reset}` };
}

/**
 * A running server keeps its port. A stopped server gets the configured port, else the port that it had. If the state
 * file was lost, that is still in the cluster's settings.
 *
 * @returns undefined if it never had one
 */
async function findServerPort(stack: Stack): Promise<number | undefined> {
  const { config, remembered } = stack;
  const running = await findPostmaster(stack.dataDir);
  const isRunning = running.state === "running";
  if (isRunning && config.port !== undefined && config.port !== running.port)
    throw cannotMove(running.port, config.port);
  return isRunning ? running.port : (config.port ?? remembered?.port ?? (await readConfiguredPort(stack.dataDir)));
}

/** Called once the server is up. If a run is killed before this, the next one finds the server by its pid. */
export async function saveEmbeddedState(stack: Stack, port: number): Promise<void> {
  const { mode, database, user, remembered, stackDir, config, dataDir } = stack;
  const { localPort } = config;
  const state = {
    mode,
    database,
    user,
    port,
    ...(localPort === undefined ? {} : { localPort }),
    ...rememberedSecrets(stack),
    cluster: await readClusterIdentity(dataDir),
    version: newestVersion(remembered),
  };
  if (JSON.stringify(state) !== JSON.stringify(remembered)) await writeState(stackDir, state);
}

async function ensureSuperuserPassword(stack: Stack): Promise<string> {
  const make = () => ({ username: superuser, password: generatePassword() });
  const { data } = await stack.superuserSecrets.ensure(secretPaths.superuser, make);
  return requireKey(data, "password", secretPaths.superuser);
}

function cannotMove(from: number, to: number): ScriptError {
  return new ScriptError({
    code: "RUNNING",
    exitCode: exitCodes.refused,
    message: `The server is running on port ${from}, so it cannot move to ${to}`,
    why: "Moving it would end the sessions of every application.",
    fix: `Run ${runLine("stop")} && ${runLine("bootstrap")} --port ${to}.`,
  });
}
