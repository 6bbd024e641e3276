import type { Stack } from "../stack.ts";
import { ComposeClient } from "./client.ts";
import { explainEngineError } from "./failure.ts";

/** What to show of the logs of containers. */
export interface ContainerLogs {
  /** By default, all. */
  readonly service?: string | undefined;
  readonly lines: number;
  readonly follow: boolean;
}

/**
 * Passes on the logs of the containers of a stack, those of stopped ones too.
 *
 * @returns false if there are no containers
 * @throws {ScriptError} `DOCKER` (exit 9)
 */
export async function readContainerLogs(
  { config, remembered }: Stack,
  { service, lines, follow }: ContainerLogs,
  { signal, text }: { readonly signal: AbortSignal; readonly text: { add(chunk: Buffer): Promise<boolean> } },
): Promise<boolean> {
  const client = new ComposeClient(config, remembered, signal);
  const containers = await client.containers();
  if (!containers.some(({ Service }) => service === undefined || Service === service)) return false;
  const chosen = service === undefined ? [] : ["--no-log-prefix", service];
  let isRead = true;
  const pass = async (chunk: Buffer) => {
    isRead = await text.add(chunk);
    return isRead;
  };
  const run = await client.stream(["logs", `--tail=${lines}`, ...(follow ? ["--follow"] : []), ...chosen], pass);
  if (run.exitCode !== 0 && isRead && !signal.aborted) throw explainEngineError(run);
  return true;
}
