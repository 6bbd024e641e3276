import { stripVTControlCharacters } from "node:util";
import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import { maskPasswords } from "../../logs/masked-text.ts";
import { errorCode } from "../../postgres/failure.ts";
import { isPortFree } from "../../postgres/server/port.ts";
import type { ComposeClient, ComposeContainer, ComposeProject } from "../../stack/compose/client.ts";
import { explainEngineError } from "../../stack/compose/failure.ts";
import { portHolder } from "../../stack/compose/life-cycle.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";
import { findHanging, openComposeClient } from "./docker.ts";

/** The containers, their volume and their ports. */
export const composeProbe: Probe = { area: "containers", find: findComposeProblems };

/** What Docker knows about a container. */
interface ContainerState {
  readonly Status: string;
  readonly ExitCode: number;
  readonly OOMKilled: boolean;
  readonly Health?: { readonly Status: string };
  readonly RestartCount: number;
}

const servers = ["postgres", "vault"];
/** Of a container that was stopped. */
const normalExitCodes = [0, 130, 143];
/** The cause of a failure is not always the last line: stdout and stderr are merged. */
const [readLines, shownLines] = [40, 8];
/** A start that came this far has found its data. */
const isReady = /ready to accept connections$/;
/** Lines with which a start ends: of the server, of its check of the data directory, and of initdb. */
const isFailure =
  /^(?:(?!LOG:|STATEMENT:|ERROR:|DETAIL:|HINT:).)*?\b(?:FATAL|PANIC): |^but could not open file |^initdb: error: /;
/** What they say about a data directory that an interrupted initdb has left. Other failures leave the data intact. */
const halfInitialised =
  /"[^"]*(?:global|base|pg_\w+)[^"]*": No such file or directory$|required WAL directory .* does not exist$|exists but is not empty$/;

/** @returns what the last start says about a data directory that is incomplete; undefined if something else failed */
export function findHalfInitialised(log: readonly string[]): string | undefined {
  const started = log.slice(log.findLastIndex((line) => isReady.test(line)) + 1);
  const failure = started.findLast((line) => isFailure.test(line));
  return failure !== undefined && halfInitialised.test(failure) ? failure : undefined;
}

async function findComposeProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const client = await openComposeClient(context);
  if (client === undefined) return [];
  const hanging = await findHanging(context);
  if (hanging !== undefined) throw hanging;
  const containers = await client.containers().catch((error: unknown) => {
    if (errorCode(error) === "OTHER_CONTAINERS") return error as ScriptError;
    throw error;
  });
  if (containers instanceof ScriptError) return [sharedProject(containers)];
  const failed = await findFailedServices(client, containers);
  const taken = await findTakenPorts(client, containers);
  if (failed.length + taken.length > 0) return [...failed, ...taken];
  return findOldPassword(context, client);
}

function sharedProject({ message, why = message, fix = "" }: ScriptError): Finding {
  return { id: "compose-project-shared", symptom: "data-at-risk", cause: `${message}.`, evidence: why, fix };
}

async function findFailedServices(client: ComposeClient, containers: readonly ComposeContainer[]): Promise<Finding[]> {
  const found = containers.map(async (container) => {
    const state = await readContainerState(client, container);
    const isUnhealthy = state.Status === "running" && state.Health?.Status === "unhealthy";
    if (!isUnhealthy && !hasFailed(state)) return [];
    const lines = await readLastLines(client, container);
    const half = isUnhealthy || container.Service !== "postgres" ? undefined : findHalfInitialised(lines);
    if (half !== undefined) return [halfVolume(half, await client.project())];
    const log = lines.slice(-shownLines).join("\n") || "Its log is empty.";
    return [isUnhealthy ? unhealthy(container, log) : exited(container, state, log)];
  });
  return (await Promise.all(found)).flat();
}

function hasFailed({ Status, ExitCode, OOMKilled, RestartCount, Health }: ContainerState): boolean {
  if (Status === "exited") return OOMKilled || !normalExitCodes.includes(ExitCode);
  // Between two attempts it is running for a moment.
  return Status === "restarting" || Status === "dead" || (RestartCount > 0 && Health?.Status !== "healthy");
}

async function readContainerState(client: ComposeClient, { ID }: ComposeContainer): Promise<ContainerState> {
  const run = await client.docker("inspect", "--format", "[{{json .State}},{{.RestartCount}}]", ID);
  if (run.exitCode !== 0) throw explainEngineError(run);
  const [state, RestartCount] = JSON.parse(run.stdout) as [Omit<ContainerState, "RestartCount">, number];
  return { ...state, RestartCount };
}

async function readLastLines(client: ComposeClient, { Service }: ComposeContainer): Promise<string[]> {
  const { stdout } = await client.compose("logs", "--no-log-prefix", `--tail=${readLines}`, Service);
  const text = maskPasswords(stripVTControlCharacters(stdout));
  return text.split("\n").filter((line) => line.trim() !== "");
}

function unhealthy({ Service, Name }: ComposeContainer, log: string): Finding {
  return {
    id: "service-unhealthy",
    symptom: "cannot-connect",
    cause: `The container of ${Service} is running, but its health check fails.`,
    evidence: `${Name}, last lines of its log:\n${log}`,
    fix: `Fix what its log reports (${runLine(`logs ${Service}`)}), then run docker restart ${Name}.`,
  };
}

function exited({ Service, Name }: ComposeContainer, { ExitCode, OOMKilled }: ContainerState, log: string): Finding {
  const how = OOMKilled ? "It ran out of memory" : `It exited with ${ExitCode}`;
  return {
    id: "service-exited",
    symptom: "does-not-start",
    cause: `The container of ${Service} has failed.`,
    evidence: `${Name}: ${how}. The last lines of its log:\n${log}`,
    fix: `Fix what its log reports (${runLine(`logs ${Service}`)}), then run ${runLine("bootstrap")} --mode compose.`,
  };
}

function halfVolume(evidence: string, { volumes }: ComposeProject): Finding {
  const volume = volumes["postgres-data"]?.name;
  return {
    id: "volume-half-initialised",
    symptom: "does-not-start",
    cause: "The data volume is incomplete: its initialisation or a copy was interrupted, or files were deleted.",
    evidence,
    fix:
      `First copy it (docker run --rm -v ${volume}:/from -v ${volume}-copy:/to alpine cp -a /from/. /to), and look for ` +
      `an archive (${runLine("backup list")}). Then run ${runLine("destroy")} && ${runLine("bootstrap")} --mode ` +
      `compose, which creates an empty one. If it had data, run ${runLine("restore latest")}.`,
  };
}

async function findTakenPorts(client: ComposeClient, containers: readonly ComposeContainer[]): Promise<Finding[]> {
  const { services } = await client.project();
  const stopped = servers.filter(
    (name) => !containers.some(({ Service, State }) => Service === name && State !== "exited" && State !== "created"),
  );
  const ports = stopped.flatMap((name) => services[name]?.ports ?? []).map(({ published }) => Number(published));
  const holders = ports.map(async (port) => {
    const holder = await portHolder(client, port);
    return holder.startsWith("the container ") || !(await isPortFree(port)) ? [portTaken(port, holder)] : [];
  });
  return (await Promise.all(holders)).flat();
}

function portTaken(port: number, holder: string): Finding {
  return {
    id: "port-taken",
    symptom: "does-not-start",
    cause: `Port ${port}, on which a container of the stack is published, is in use by ${holder}.`,
    evidence: `${holder} listens on port ${port} of 127.0.0.1.`,
    fix:
      "Stop it, or set POSTGRES_PORT (for Vault, VAULT_PORT) to another port in .env. " +
      `Then run ${runLine("bootstrap")} --mode compose.`,
  };
}

/** The password in the keys volume is the one that the commands use. */
async function findOldPassword(context: DoctorContext, client: ComposeClient): Promise<Finding[]> {
  const error = await context.server().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (errorCode(error) !== "AUTHENTICATION") return [];
  const { message, why = message } = error as ScriptError;
  const words = ["exec", "-T", "postgres", "sh", "/superuser-password.sh"];
  const { name } = await client.project();
  return [
    {
      id: "volume-password-old",
      symptom: "cannot-connect",
      cause: "The data volume has another superuser's password than the volume with the keys.",
      evidence: why,
      fix: `Run docker compose -p ${name} ${words.join(" ")}.`,
      repair: {
        description: "sets the superuser's password in the data volume to the one in the volume with the keys",
        changesStack: true,
        run: async () => {
          const again = await openComposeClient({ ...context, signal: context.run.signal });
          const run = await (again ?? client).compose(...words);
          if (run.exitCode !== 0) throw explainEngineError(run);
        },
      },
    },
  ];
}
