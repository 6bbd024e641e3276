import process from "node:process";
import type { Config } from "../../config.ts";
import { runProcess, streamProcess } from "../../process.ts";
import { environment } from "../../runtime.ts";
import type { StackState } from "../state.ts";
import { type DockerRun, explainEngineError } from "./failure.ts";
import { findCopied, refuseCopiedName, refuseOtherContainers } from "./owner.ts";
import { type ComposePlace, composePlace } from "./place.ts";

/** A container of the stack, as `docker compose ps` reports it. */
export interface ComposeContainer {
  readonly Name: string;
  readonly Service: string;
  /** `running`, `exited`, … */
  readonly State: string;
  readonly ID: string;
  /** The name of the compose project. */
  readonly Project: string;
  readonly Publishers: readonly { readonly PublishedPort: number; readonly TargetPort: number }[] | null;
}

/** The names that compose gives to a stack. */
export interface ComposeProject {
  readonly name: string;
  readonly volumes: Readonly<Record<string, { readonly name: string }>>;
  readonly services: Readonly<Record<string, { readonly ports?: readonly { readonly published: string }[] }>>;
}

const directoryLabel = "com.docker.compose.project.working_dir";

/** Runs `docker` and `docker compose` for one stack. */
export class ComposeClient {
  readonly place: ComposePlace;
  readonly #original: StackState["compose"];
  readonly #env: Readonly<Record<string, string>>;
  readonly #signal: AbortSignal | undefined;

  /** @param signal kills a running command */
  constructor(config: Config, remembered: StackState | undefined, signal?: AbortSignal) {
    this.place = composePlace(config, remembered);
    this.#original = findCopied(config.stackDir, remembered);
    this.#env = { ...composeEnvironment(config, remembered), ...this.place.variables };
    this.#signal = signal;
  }

  /** Runs `docker compose …` and returns its result, whatever its exit code. */
  compose(...words: string[]): Promise<DockerRun> {
    return this.docker("compose", "--ansi=never", ...this.place.options, ...words);
  }

  /**
   * Runs `docker compose …` and passes its output on while it runs.
   *
   * @param onOutput returns false to end it
   */
  async stream(words: readonly string[], onOutput: (chunk: Buffer) => Promise<boolean>): Promise<DockerRun> {
    const options = { cwd: this.place.workingDir, env: this.#env, ...(this.#signal && { signal: this.#signal }) };
    const all = ["compose", "--ansi=never", ...this.place.options, ...words];
    const { exitCode = 1, stderr } = await streamProcess("docker", all, options, onOutput);
    return { exitCode, stdout: "", stderr };
  }

  /**
   * Runs `docker …` and returns its result, whatever its exit code.
   *
   * @throws {ScriptError} `DOCKER` (exit 9) if docker is not installed
   */
  async docker(...words: string[]): Promise<DockerRun> {
    const options = { cwd: this.place.workingDir, env: this.#env, signal: this.#signal };
    try {
      const { exitCode = 1, stdout, stderr } = await runProcess("docker", words, options);
      return { exitCode, stdout, stderr };
    } catch (error) {
      this.#signal?.throwIfAborted();
      const { code } = error as NodeJS.ErrnoException;
      throw code === undefined ? error : explainEngineError({ exitCode: 1, stdout: "", stderr: code });
    }
  }

  /**
   * @returns all containers of the stack, stopped ones included
   * @throws {ScriptError} `DOCKER` (exit 9) if the engine or compose v2 is missing; `OTHER_CONTAINERS` (exit 8) if they
   * are those of another folder
   */
  async containers(): Promise<readonly ComposeContainer[]> {
    const run = await this.compose("ps", "--all", "--format", "json");
    if (run.exitCode !== 0) throw explainEngineError(run);
    const lines = run.stdout.split("\n").filter((line) => line.startsWith("{"));
    const containers = lines.map((line) => JSON.parse(line) as ComposeContainer);
    await this.#checkOwner(containers);
    return containers;
  }

  /** @throws {ScriptError} `DOCKER` (exit 9) */
  async project(): Promise<ComposeProject> {
    const run = await this.compose("config", "--format", "json");
    if (run.exitCode !== 0) throw explainEngineError(run);
    return JSON.parse(run.stdout) as ComposeProject;
  }

  async #checkOwner([first, ...others]: readonly ComposeContainer[]): Promise<void> {
    if (this.#original !== undefined) refuseCopiedName((await this.project()).name, this.#original);
    if (first === undefined) return;
    const ids = [first, ...others].map(({ ID }) => ID);
    const { stdout } = await this.docker("inspect", "--format", `{{index .Config.Labels "${directoryLabel}"}}`, ...ids);
    refuseOtherContainers(first.Project, this.place.directory, stdout.split("\n"));
  }
}

/** Variables that docker-compose.yml reads. Whatever neither flags nor state set comes from `.env` and the defaults. */
function composeEnvironment(config: Config, remembered: StackState | undefined): Record<string, string> {
  const port = config.port ?? remembered?.port;
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  const ours = {
    POSTGRES_DB: config.database ?? remembered?.database,
    POSTGRES_USER: config.user ?? remembered?.user,
    POSTGRES_PORT: port === undefined ? undefined : `${port}`,
    // Archives belong to the user who runs the scripts. But not to root, whose archives init could not read.
    ...(uid === 0 ? {} : { CQRS_UID: `${uid}`, CQRS_GID: `${gid}` }),
    ...environment(),
  };
  const flags = { POSTGRES_DB: config.database, POSTGRES_USER: config.user, POSTGRES_PORT: config.port?.toString() };
  const all = Object.entries({ ...ours, ...defined(flags) });
  return Object.fromEntries(all.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function defined(record: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}
