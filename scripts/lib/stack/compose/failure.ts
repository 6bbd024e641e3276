import { portTaken } from "../../cli/errors.ts";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { assetsDir, isClone } from "../../paths.ts";

/** The result of a docker command. */
export interface DockerRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A failure that is recognised by the output of Docker Engine 20.10 to 28 or of a container. */
interface KnownFailure {
  readonly pattern: RegExp;
  readonly code: string;
  readonly message: string;
  readonly fix: string;
}

const engineFailures: readonly KnownFailure[] = [
  {
    pattern: /^ENOENT/,
    code: "DOCKER",
    message: "Docker is not installed",
    fix: `Install Docker Engine and compose v2, or run ${runLine("bootstrap")} --mode embedded.`,
  },
  {
    pattern: /permission denied.*(docker\.sock|daemon socket)|docker\.sock.*permission denied/is,
    code: "DOCKER",
    message: "This user is not allowed to use Docker Engine",
    fix: "Add this user to the group docker: sudo usermod -aG docker $USER, then log in again.",
  },
  {
    pattern: /is not a docker command|unknown command|unknown (shorthand )?flag/i,
    code: "DOCKER",
    message: "Docker Compose v2 is not installed",
    fix: "Install docker-compose-plugin (compose 2.26 or newer); docker-compose 1.x cannot read docker-compose.yml.",
  },
  {
    pattern: /cannot connect to the docker daemon|error during connect|no such host.*docker|connection refused/i,
    code: "DOCKER",
    message: "Docker Engine is not running",
    fix: `Start it (sudo systemctl start docker, or Docker Desktop), or run ${runLine("bootstrap")} --mode embedded.`,
  },
];

const startFailures: readonly KnownFailure[] = [
  {
    pattern:
      /pull access denied|manifest unknown|failed to resolve|registry[^\n]*no such host|toomanyrequests|No such image/i,
    code: "IMAGE",
    message: "An image cannot be pulled",
    fix: "Check that the registry is reachable, or set POSTGRES_IMAGE, VAULT_IMAGE and BUN_IMAGE to other images.",
  },
  {
    pattern: /data volume was made by PostgreSQL \d+/i,
    code: "SERVER_VERSION",
    message: "The data volume was created by another major version of PostgreSQL",
    fix: "Set POSTGRES_IMAGE to that version, such as postgres:15-alpine. Back up, destroy, and restore with 16.",
  },
  {
    pattern: /exit(ed)? \(?137|OOMKilled|cannot allocate memory|could not map anonymous shared memory|Minimum memory/i,
    code: "MEMORY",
    message: "A container ran out of memory",
    fix: "Raise its limit, such as POSTGRES_MEMORY=2g, VAULT_MEMORY=1g or INIT_MEMORY=1g.",
  },
  {
    pattern: /permission denied|error mounting|not a directory|EACCES/i,
    code: "MOUNT",
    message: "A container cannot use a file or folder of this project",
    fix:
      "Make CQRS_UID (default: you) the owner of postgres/backups in the stack's folder, and run " +
      `chmod -R o+rX ${isClone ? "" : `${assetsDir}/`}infrastructure/{vault,init}`,
  },
];

/** @returns the error of a docker command that failed (exit 9) */
export function explainEngineError(run: DockerRun): ScriptError {
  return explain(engineFailures, run.stderr) ?? notStarted(run.stderr, "Fix the cause, then run this again.");
}

/**
 * Explains a failed `up`.
 *
 * @param log the last lines of the containers' logs
 * @param name the name of the compose project
 */
export function explainStartError(run: DockerRun, log: string, name: string): ScriptError {
  const text = `${run.stderr}\n${log}`;
  const ended = failedService(run);
  const known = explain(engineFailures, run.stderr) ?? explain(startFailures, text);
  const fix = `Fix the cause, then run this again. For the full logs, run docker compose -p ${name} logs.`;
  return known ?? notStarted(ended === undefined ? text : log, fix, ended);
}

/** A one-shot service that failed. */
export interface FailedService {
  readonly name: string;
  readonly exitCode: number;
}

/** @returns the one-shot service that made an `up` fail */
export function failedService({ stderr }: DockerRun): FailedService | undefined {
  const [, name, exitCode] = /service "(\w+)" didn't complete successfully: exit (\d+)/.exec(stderr) ?? [];
  return name === undefined ? undefined : { name, exitCode: Number(exitCode) };
}

/** @returns the port that made an `up` fail because another program listens on it */
export function takenPort({ stderr }: DockerRun): number | undefined {
  const found =
    /Bind for \S+?:(\d+) failed|listen tcp\d? \S+?:(\d+): bind|ports are not available: exposing port TCP \S+?:(\d+)/i.exec(
      stderr,
    );
  const port = found?.slice(1).find((group) => group !== undefined);
  return port === undefined ? undefined : Number(port);
}

/** @returns the error of a published port that another program listens on (exit 9) */
export function publishedPortTaken(port: number, holder: string): ScriptError {
  return portTaken({
    port,
    holder,
    why: "The stack publishes PostgreSQL and Vault on fixed ports.",
    move: `set POSTGRES_PORT=${port + 1} (for Vault, VAULT_PORT) in the environment or in .env`,
  });
}

function explain(failures: readonly KnownFailure[], text: string): ScriptError | undefined {
  const found = failures.find(({ pattern }) => pattern.test(text));
  if (found === undefined) return undefined;
  const { code, message, fix, pattern } = found;
  const line = text.split("\n").find((one) => pattern.test(one)) ?? text;
  return new ScriptError({ code, exitCode: exitCodes.prerequisite, message, why: line.trim(), fix });
}

function notStarted(text: string, fix: string, ended?: FailedService): ScriptError {
  const known: readonly number[] = Object.values(exitCodes);
  const isKnown = ended !== undefined && known.includes(ended.exitCode);
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return new ScriptError({
    code: "CONTAINERS",
    exitCode: isKnown ? ended.exitCode : exitCodes.notReady,
    message: ended === undefined ? "The containers did not start" : `${ended.name} exited with ${ended.exitCode}`,
    why: lines.slice(-12).join("\n"),
    fix,
  });
}
