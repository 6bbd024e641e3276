import type { RunContext, Stack } from "../stack.ts";
import { ComposeClient } from "./client.ts";
import { explainEngineError } from "./failure.ts";

/** The container of the server, as `verify` looks at it. */
export interface ContainerFacts {
  readonly name: string;
  /** `healthy`, `starting` or `unhealthy`. */
  readonly health: string;
  readonly volume: string;
  /** The mode of the data directory in octal: `700`. */
  readonly dataMode: string;
  readonly dataOwner: string;
  /** The user that the server runs as. */
  readonly serverUser: string;
  readonly isWritable: boolean;
  readonly freeBytes: number;
  /** The last line of its log. */
  readonly logLine: string;
}

/** Runs in the container as the server's user; the first process is the server. */
const look = `cd "$PGDATA" && stat -c '%a %U' . && stat -c %U /proc/1 &&
  { if test -w .; then echo yes; else echo no; fi; } && df -Pk . | tail -n 1 | awk '{ print $4 }'`;

/** @throws {ScriptError} `DOCKER` (exit 9) */
export async function inspectServer({ config, remembered }: Stack, { signal }: RunContext): Promise<ContainerFacts> {
  const client = new ComposeClient(config, remembered, signal);
  const [seen, log, found, project] = await Promise.all([
    client.compose("exec", "-T", "--user", "postgres", "postgres", "sh", "-c", look),
    client.compose("logs", "--no-log-prefix", "--tail=1", "postgres"),
    readServerHealth(client),
    client.project(),
  ]);
  if (seen.exitCode !== 0) throw explainEngineError(seen);
  const [mode = "", serverUser = "", isWritable = "", freeKilobytes = ""] = seen.stdout.split("\n");
  const [dataMode = "", dataOwner = ""] = mode.split(" ");
  return {
    ...found,
    volume: project.volumes["postgres-data"]?.name ?? "",
    dataMode,
    dataOwner,
    serverUser,
    isWritable: isWritable === "yes",
    freeBytes: Number(freeKilobytes) * 1024,
    logLine: log.stdout.trim(),
  };
}

/** Reads the name and the health of the server's container. After a restart it is `starting`, until its first check. */
export async function readServerHealth(client: ComposeClient): Promise<Pick<ContainerFacts, "name" | "health">> {
  const name = (await client.containers()).find(({ Service }) => Service === "postgres")?.Name ?? "";
  const { stdout } = await client.docker("inspect", "--format", "{{.State.Health.Status}}", name);
  return { name, health: stdout.trim() };
}
