import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { timedOut } from "../../cli/errors.ts";
import type { StepResult } from "../../cli/reporter.ts";
import { exitCodes } from "../../cli/script-error.ts";
import { openConnection } from "../../postgres/connect.ts";
import type { ConnectionTarget } from "../../postgres/target.ts";
import { runProcess } from "../../process.ts";
import { pollUntil } from "../../retry.ts";
import { readServerIdentity } from "../external.ts";
import { checkApplicationLogin } from "../login-pair.ts";
import { newestVersion } from "../skew.ts";
import {
  applicationTarget,
  type BootstrapRun,
  openStack,
  type RunContext,
  type Stack,
  waitLimit,
  withSafePath,
} from "../stack.ts";
import { removeState, writeState } from "../state.ts";
import { ComposeClient, type ComposeContainer } from "./client.ts";
import {
  type DockerRun,
  explainEngineError,
  explainStartError,
  failedService,
  publishedPortTaken,
  takenPort,
} from "./failure.ts";
import { readServerHealth } from "./inspect.ts";
import { otherVolumes } from "./owner.ts";

const restartPollMs = 200;

/**
 * Starts the containers of a stack and waits until the database is ready.
 *
 * @returns the connection target of the application, for programs on the host
 * @throws {ScriptError} `DOCKER`, `PORT_TAKEN`, `IMAGE`, `MEMORY`, `MOUNT`, `SERVER_VERSION` (exit 9), or init's error
 */
export async function startContainers(stack: Stack, run: BootstrapRun): Promise<ConnectionTarget> {
  const client = openClient(stack, run);
  await run.step("engine", () => checkEngine(client));
  await run.step("containers", () => composeUp(client));
  const running = await openStack({ ...stack.config, mode: "compose" });
  const application = await applicationTarget(running);
  await run.step("login", () => checkApplicationLogin(application));
  await saveState(stack, application, client);
  return application;
}

async function saveState(
  { stackDir, remembered }: Stack,
  application: ConnectionTarget,
  client: ComposeClient,
): Promise<void> {
  const { database, user, port } = application;
  await using connection = openConnection(application);
  const identity = await readServerIdentity(connection.sql);
  await writeState(stackDir, {
    mode: "compose",
    database,
    user,
    port,
    ...identity,
    compose: { name: (await client.project()).name, directory: stackDir },
    version: newestVersion(remembered),
  });
}

/** @returns the names of the stopped containers; their data is kept */
export async function stopContainers(stack: Stack, run: RunContext): Promise<readonly string[]> {
  const client = openClient(stack, run);
  const names = (await client.containers()).filter(({ State }) => State === "running").map(({ Name }) => Name);
  if (names.length > 0) await mustCompose(client, "stop");
  return names;
}

/** Restarts the container of the server, and waits until it is healthy. */
export async function restartServer(stack: Stack, run: RunContext): Promise<void> {
  const client = openClient(stack, run);
  await mustCompose(client, "restart", "postgres");
  const isHealthy = async () => (await readServerHealth(client)).health === "healthy" || undefined;
  const limit = { ...waitLimit(stack, run), intervalMs: restartPollMs };
  if (await pollUntil(isHealthy, limit)) return;
  throw timedOut("The container of PostgreSQL is not healthy after its restart", stack.config.timeoutMs);
}

/**
 * @returns the data volume, and its size if the server is running; undefined if there is no volume
 * @throws {ScriptError} `OTHER_CONTAINERS` (exit 8) if it was made from another folder
 */
export async function findDataVolume(
  stack: Stack,
): Promise<{ readonly volume: string; readonly sizeBytes: number | null } | undefined> {
  const client = openClient(stack);
  const volume = await dataVolume(client);
  if ((await client.docker("volume", "inspect", volume)).exitCode !== 0) return undefined;
  await checkVolumes(client);
  return { volume, sizeBytes: await databaseSize(stack) };
}

/** Removes the containers and the data volume; keeps the volumes of Vault and of the keys. */
export async function removeData(stack: Stack, run: RunContext): Promise<void> {
  const client = openClient(stack, run);
  const volume = await dataVolume(client);
  await checkVolumes(client);
  await mustCompose(client, "--profile", "tools", "down", "--remove-orphans");
  const removed = await client.docker("volume", "rm", volume);
  if (removed.exitCode !== 0) throw explainEngineError(removed);
  await removeState(stack.stackDir);
}

function openClient({ config, remembered }: Stack, run?: RunContext): ComposeClient {
  return new ComposeClient(config, remembered, run?.signal);
}

async function checkEngine(client: ComposeClient): Promise<StepResult> {
  const engine = await client.docker("version", "--format", "{{.Server.Version}}");
  if (engine.exitCode !== 0) throw explainEngineError(engine);
  const compose = await client.docker("compose", "version", "--short");
  if (compose.exitCode !== 0) throw explainEngineError(compose);
  const detail = `Docker Engine ${engine.stdout.trim()}, compose ${compose.stdout.trim()}`;
  return { isChanged: false, detail };
}

async function composeUp(client: ComposeClient): Promise<StepResult> {
  const before = runningIds(await client.containers());
  // Docker would create it, and the folders above it, as root.
  await mkdir(client.place.backupsDir, { recursive: true });
  const up = await client.compose("up", "--wait", "--build", "--quiet-pull");
  if (up.exitCode !== 0) throw await explainFailedUp(client, up);
  const containers = await client.containers();
  const init = await client.compose("logs", "--no-log-prefix", "--tail=3", "init");
  const isChanged = runningIds(containers) !== before || !init.stdout.includes("(nothing to change)");
  const names = containers.filter(({ State }) => State === "running").map(({ Name }) => Name);
  return { isChanged, detail: `${isChanged ? "started" : "running"}: ${names.toSorted().join(", ")}` };
}

/** Identifies the running containers, because a recreated one has another id. */
function runningIds(containers: readonly ComposeContainer[]): string {
  const servers = containers.filter(({ Service, State }) => Service !== "init" && State === "running");
  return servers
    .map(({ ID }) => ID)
    .toSorted()
    .join();
}

async function explainFailedUp(client: ComposeClient, up: DockerRun): Promise<Error> {
  const port = takenPort(up);
  if (port !== undefined) return publishedPortTaken(port, await portHolder(client, port));
  const ended = failedService(up);
  if (ended?.name === "keys" && ended.exitCode === exitCodes.refused)
    return otherVolumes((await client.project()).name);
  const services = ended === undefined ? ["keys", "vault", "postgres"] : [ended.name];
  const logs = await client.compose("logs", "--no-log-prefix", "--tail=15", ...services);
  const { name } = await client.project();
  return explainStartError(up, `${await listOutOfMemory(client)}${logs.stdout}`, name);
}

async function listOutOfMemory(client: ComposeClient): Promise<string> {
  const ids = (await client.containers()).map(({ ID }) => ID);
  if (ids.length === 0) return "";
  const { stdout } = await client.docker(
    "inspect",
    "--format",
    "{{if .State.OOMKilled}}{{.Name}} OOMKilled{{end}}",
    ...ids,
  );
  return stdout;
}

/** @returns the name of the container, or of the program if the system reveals it */
export async function portHolder(client: ComposeClient, port: number): Promise<string> {
  const { stdout } = await client.docker("ps", "--filter", `publish=${port}`, "--format", "{{.Names}}");
  if (stdout.trim() !== "") return `the container ${stdout.trim().split("\n").join(", ")}`;
  const found = await runProcess("lsof", ["-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"]).catch(() => undefined);
  const [pid, name] = [/^p(\d+)/m, /^c(.+)/m].map((pattern) => pattern.exec(found?.stdout ?? "")?.[1]);
  if (pid !== undefined) return `${name} (pid ${pid})`;
  const sockets = await runProcess("ss", ["-Hltnp", `sport = :${port}`]).catch(() => undefined);
  const [, program, id] = /users:\(\("([^"]+)",pid=(\d+)/.exec(sockets?.stdout ?? "") ?? [];
  return program === undefined ? "another program" : `${program} (pid ${id})`;
}

async function dataVolume(client: ComposeClient): Promise<string> {
  return (await client.project()).volumes["postgres-data"]?.name ?? "";
}

/** There may be volumes without containers, which would show their folder. Only a container can look into them. */
async function checkVolumes(client: ComposeClient): Promise<void> {
  const run = await client.compose("run", "--rm", "--no-deps", "-T", "keys", "check");
  if (run.exitCode === exitCodes.refused) throw otherVolumes((await client.project()).name);
  if (run.exitCode !== 0) throw explainEngineError(run);
}

async function databaseSize({ config, database }: Stack): Promise<number | null> {
  if (config.externalServer === undefined) return null;
  await using connection = openConnection(withSafePath({ ...config.externalServer, database }));
  const rows = connection.sql<
    { size: number }[]
  >`select pg_catalog.pg_database_size(current_database())::float8 as size`;
  return (await rows.catch(() => []))[0]?.size ?? null;
}

async function mustCompose(client: ComposeClient, ...words: string[]): Promise<void> {
  const run = await client.compose(...words);
  if (run.exitCode !== 0) throw explainEngineError(run);
}

/** @returns folders that are kept when the data is removed */
export function keptFolders(stack: Stack): string[] {
  return [openClient(stack).place.backupsDir].filter(existsSync);
}
