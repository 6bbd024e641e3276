import { setTimeout as sleep } from "node:timers/promises";
import { formatSeconds } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { ScriptError } from "../cli/script-error.ts";
import { type Config, type ConfigFlags, loadConfig } from "../config.ts";
import type { RunContext } from "../stack/stack.ts";
import { composeProbe } from "./causes/compose.ts";
import { configurationProbe } from "./causes/configuration.ts";
import { credentialsProbe } from "./causes/credentials.ts";
import { dockerProbe } from "./causes/docker.ts";
import { filesProbe } from "./causes/files.ts";
import { hostProbe } from "./causes/host.ts";
import { logProbe } from "./causes/log.ts";
import { portProbe } from "./causes/port.ts";
import { projectionsProbe } from "./causes/projections.ts";
import { schemaProbe } from "./causes/schema.ts";
import { secretFilesProbe } from "./causes/secret-files.ts";
import { serverProbe } from "./causes/server.ts";
import { sessionsProbe } from "./causes/sessions.ts";
import { settingsProbe } from "./causes/settings.ts";
import { vaultProbe } from "./causes/vault.ts";
import { type DoctorContext, type DoctorLimits, doctorLimits, type Probe, withDoctorContext } from "./context.ts";
import { type Finding, NotChecked, type Symptom, withSafeRepairs } from "./finding.ts";

/** An area that could not be looked at. */
export interface Unchecked {
  readonly area: string;
  readonly reason: string;
}

/** What is wrong with a stack. */
export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly notChecked: readonly Unchecked[];
}

/** How to diagnose. */
export interface DoctorOptions {
  readonly limits?: Partial<DoctorLimits>;
  /** The areas to look at; @default all */
  readonly areas?: readonly string[];
}

/** From the outside in. */
export const allProbes: readonly Probe[] = [
  hostProbe,
  filesProbe,
  configurationProbe,
  secretFilesProbe,
  dockerProbe,
  composeProbe,
  portProbe,
  vaultProbe,
  serverProbe,
  settingsProbe,
  sessionsProbe,
  credentialsProbe,
  schemaProbe,
  logProbe,
  projectionsProbe,
];

/** After this time, a line reports what is being looked at. */
const silenceMs = 1_000;

/**
 * Diagnoses the stack that the flags and the configuration refer to.
 *
 * @throws {ScriptError} `CONFIGURATION` (exit 2) if a flag is wrong
 */
export async function diagnoseFlags(flags: ConfigFlags, run: RunContext): Promise<Diagnosis> {
  const isUsable = "stackDir" in readConfig(() => loadConfig({ project: flags.project }));
  const config = isUsable ? loadConfig(flags) : undefined;
  return diagnose(() => config ?? loadConfig(flags), run);
}

/**
 * Finds out what is wrong with a stack, whatever is broken. Changes nothing.
 *
 * @param load reads the configuration, which may itself be what is wrong
 */
export async function diagnose(
  load: () => Config,
  run: RunContext,
  { limits, areas }: DoctorOptions = {},
): Promise<Diagnosis> {
  const probes = allProbes.filter(({ area }) => areas?.includes(area) ?? true);
  const config = readConfig(load);
  if (!("stackDir" in config)) return { findings: [config], notChecked: withoutConfiguration(probes) };
  return withDoctorContext(config, run, { ...doctorLimits, ...limits }, (context) => runAll(probes, context));
}

function readConfig(load: () => Config): Config | Finding {
  try {
    return load();
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return {
      id: "configuration-invalid",
      symptom: "does-not-start",
      cause: error.message,
      evidence: error.why ?? error.message,
      fix: error.fix ?? "Fix the settings, in the environment or in .env.",
    };
  }
}

function withoutConfiguration(probes: readonly Probe[]): Unchecked[] {
  const areas = [...new Set(probes.map(({ area }) => area))];
  return areas.map((area) => ({ area, reason: "the configuration cannot be read" }));
}

async function runAll(probes: readonly Probe[], context: DoctorContext): Promise<Diagnosis> {
  const findings: Finding[] = [];
  const failures: { readonly area: string; readonly error: Error }[] = [];
  for (const probe of probes) {
    context.run.signal.throwIfAborted();
    const result = await runProbe(probe, context);
    if (!(result instanceof Error)) findings.push(...result);
    else if (result instanceof ScriptError && !context.hasShared(result)) findings.push(checkFailed(probe, result));
    else failures.push({ area: probe.area, error: result });
  }
  const notChecked = new Map(
    failures.map(({ area, error }) => [`${area} ${error.message}`, { area, reason: error.message }]),
  );
  // The area that explains what the others share may have nothing to say about it.
  const unexplained = findings.length > 0 ? undefined : failures.find(({ error }) => error instanceof ScriptError);
  if (unexplained !== undefined) findings.push(checkFailed(unexplained, unexplained.error as ScriptError));
  return { findings: withSafeRepairs(findings), notChecked: [...notChecked.values()] };
}

const symptomOfArea: Readonly<Record<string, Symptom>> = {
  files: "does-not-start",
  "secret files": "secrets",
  docker: "does-not-start",
  containers: "does-not-start",
  port: "does-not-start",
  vault: "secrets",
  credentials: "secrets",
  schema: "schema",
  log: "data-at-risk",
  projections: "readers",
};

/** An error that explains itself is as bad for the application as for us. */
function checkFailed({ area }: Pick<Probe, "area">, { message, why = message, fix }: ScriptError): Finding {
  return {
    id: "check-failed",
    symptom: symptomOfArea[area] ?? "cannot-connect",
    cause: `${message}.`,
    evidence: why,
    fix: fix ?? `Fix the cause, then run ${runLine("doctor")} again.`,
  };
}

/** @returns what was found, or why nothing could be looked at */
async function runProbe({ area, find }: Probe, context: DoctorContext): Promise<readonly Finding[] | Error> {
  const timer = setTimeout(() => context.run.reporter.info(`still looking at: ${area}`), silenceMs);
  const ended = new AbortController();
  try {
    const signal = AbortSignal.any([context.signal, ended.signal]);
    return await Promise.race([find({ ...context, signal }), failLater(context.limits.probeTimeoutMs, ended.signal)]);
  } catch (error) {
    context.run.signal.throwIfAborted();
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    clearTimeout(timer);
    ended.abort();
  }
}

async function failLater(timeoutMs: number, signal: AbortSignal): Promise<never> {
  await sleep(timeoutMs, undefined, { signal }).catch(() => {});
  throw new NotChecked(`it did not finish within ${formatSeconds(timeoutMs / 1000)}`);
}
