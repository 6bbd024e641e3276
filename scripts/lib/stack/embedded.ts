import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { StepResult } from "../cli/reporter.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { ConnectionTarget } from "../postgres/connect.ts";
import { chooseAccount } from "../postgres/server/account.ts";
import { findBinaries } from "../postgres/server/binaries.ts";
import {
  initialiseCluster,
  inspectCluster,
  readSettledPort,
  removeLeftovers,
  superuser,
} from "../postgres/server/cluster.ts";
import { type EmbeddedServer, ensureRunning } from "../postgres/server/life-cycle.ts";
import { choosePort } from "../postgres/server/port.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import { environment } from "../runtime.ts";
import { requireKey, secretPaths } from "../secrets/application-secret.ts";
import { generatePassword } from "../secrets/password.ts";
import { rememberedSecrets } from "./secret-store.ts";
import type { RunContext, Stack } from "./stack.ts";
import { writeState } from "./state.ts";

/**
 * Has the embedded server of a stack running: makes its cluster when there is none, adopts or starts the server.
 *
 * @returns the superuser on this server, for the stack's database
 */
export async function startEmbeddedServer(
  stack: Stack,
  run: RunContext,
  step: (name: string, work: () => Promise<StepResult>) => Promise<void>,
): Promise<ConnectionTarget> {
  const account = chooseAccount(stack.dataDir);
  const isThere = (await inspectCluster(stack.dataDir)) === "initialised";
  await removeLeftovers(stack.dataDir);
  await mkdir(dirname(stack.dataDir), { recursive: true });
  const binaries = await findBinaries(account, environment());
  run.reporter.verbose(`PostgreSQL ${binaries.version} at ${binaries.postgres}, run as ${account.description}`);
  const port = await choosePortFor(stack);
  const password = await ensureSuperuserPassword(stack);
  const server: EmbeddedServer = { dataDir: stack.dataDir, binaries, account, superuserPassword: password };
  await step("cluster", async () => {
    if (isThere) return { isChanged: false, detail: `${stack.dataDir} is there` };
    await initialiseCluster(stack.dataDir, binaries, account, password);
    return { isChanged: true, detail: `made ${stack.dataDir} with PostgreSQL ${binaries.version}` };
  });
  await step("server", () => start(server, port, stack, run));
  await remember(stack, port);
  return { host: "127.0.0.1", port, database: stack.database, user: superuser, password };
}

async function start(server: EmbeddedServer, port: number, stack: Stack, run: RunContext): Promise<StepResult> {
  const wait = { timeoutMs: stack.config.timeoutMs, signal: run.signal };
  const { how, pid, isPasswordReset } = await ensureRunning(server, port, wait);
  const reset = isPasswordReset ? ", its superuser's password set anew" : "";
  if (how === "adopted") {
    return { isChanged: isPasswordReset, detail: `runs on port ${port} (pid ${pid})${reset}` };
  }
  const { version } = server.binaries;
  return { isChanged: true, detail: `started PostgreSQL ${version} on port ${port} (pid ${pid})${reset}` };
}

/** A running server keeps its port; a stopped one gets the one that is asked for, or the one it had. */
async function choosePortFor(stack: Stack): Promise<number> {
  const { config, remembered } = stack;
  const running = await findPostmaster(stack.dataDir);
  const isRunning = running.state === "running";
  if (isRunning && config.port !== undefined && config.port !== running.port)
    throw wouldMove(running.port, config.port);
  return isRunning ? running.port : (config.port ?? remembered?.port ?? (await lastOrNewPort(stack)));
}

/** Only what has worked is remembered; a run that is killed before this leaves a server that is found by its pid. */
async function remember(stack: Stack, port: number): Promise<void> {
  const { mode, database, user, remembered, stackDir } = stack;
  const state = { mode, database, user, port, ...rememberedSecrets(stack) };
  if (JSON.stringify(state) !== JSON.stringify(remembered)) await writeState(stackDir, state);
}

/** A cluster whose state file was lost still has its port in its settings. */
async function lastOrNewPort({ dataDir, stackDir }: Stack): Promise<number> {
  return (await readSettledPort(dataDir)) ?? (await choosePort(stackDir));
}

async function ensureSuperuserPassword(stack: Stack): Promise<string> {
  const make = () => ({ username: superuser, password: generatePassword() });
  const { data } = await stack.superuserSecrets.ensure(secretPaths.superuser, make);
  return requireKey(data, "password", secretPaths.superuser);
}

function wouldMove(from: number, to: number): ScriptError {
  return new ScriptError({
    code: "RUNNING",
    exitCode: exitCodes.refused,
    message: `The server runs on port ${from}; it can't move to ${to} while it runs`,
    why: "Moving would end the sessions of every application that uses it.",
    fix: `bun run stop && bun run bootstrap --port ${to}`,
  });
}
