import { ScriptError } from "../../cli/script-error.ts";
import { errorCode } from "../../postgres/failure.ts";
import { ComposeClient } from "../../stack/compose/client.ts";
import { explainEngineError } from "../../stack/compose/failure.ts";
import { readState } from "../../stack/state.ts";
import { type DoctorContext, dockerHangs, type Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Whether the containers can be controlled. */
export const dockerProbe: Probe = { area: "docker", find: findDockerProblems };

async function findDockerProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const client = await openComposeClient(context);
  if (client === undefined) return [];
  const hanging = await findHanging(context);
  if (hanging !== undefined) return [{ id: "docker-not-running", ...describe(hanging) }];
  const engine = await client.docker("version", "--format", "{{.Server.Version}}").catch(errorOnly);
  if (engine instanceof ScriptError) return [{ id: "docker-missing", ...describe(engine) }];
  if (engine.exitCode !== 0) return [{ id: "docker-not-running", ...describe(explainEngineError(engine)) }];
  const compose = await client.docker("compose", "version", "--short");
  if (compose.exitCode !== 0) return [{ id: "docker-compose-missing", ...describe(explainEngineError(compose)) }];
  return [];
}

/** @returns the error if Docker did not answer when the stack was looked for */
export async function findHanging({ stack }: DoctorContext): Promise<ScriptError | undefined> {
  return await stack().then(
    () => undefined,
    (error: unknown) => (errorCode(error) === dockerHangs ? (error as ScriptError) : undefined),
  );
}

/** @returns undefined if the stack has no containers */
export async function openComposeClient({ config, signal }: DoctorContext): Promise<ComposeClient | undefined> {
  // The files area reports a state that cannot be read.
  const remembered = await readState(config.stackDir).catch(() => undefined);
  if ((config.mode ?? remembered?.mode) !== "compose") return undefined;
  return new ComposeClient(config, remembered, signal);
}

function errorOnly(error: unknown): ScriptError {
  if (error instanceof ScriptError) return error;
  throw error;
}

function describe({ message, why = message, fix = "" }: ScriptError): Omit<Finding, "id"> {
  return { symptom: "does-not-start", cause: `${message}.`, evidence: why, fix };
}
