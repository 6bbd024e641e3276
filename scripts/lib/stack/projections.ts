import { statSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { exitCodes, ScriptError, type ScriptErrorDetails } from "../cli/script-error.ts";
import type { Config } from "../config.ts";
import { orderSummary } from "../demo/order-summary.ts";
import { InvalidInput, LogRewound } from "../event-store/errors.ts";
import type { ProjectionDefinition, ProjectionOutcome } from "../event-store/projection/definition.ts";
import { readProjectionLag } from "../event-store/projection/progress.ts";
import { project } from "../event-store/projection/project.ts";
import type { EventStore } from "../event-store/store.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { errorCode } from "../postgres/failure.ts";
import { openStackStore } from "./connect.ts";
import { applicationTarget, openStack } from "./stack.ts";

/**
 * Does work with the event store of a stack, with the application's login.
 *
 * @throws {ScriptError} for the expected errors of the driver and the event store
 */
export async function withStackStore<Result>(
  config: Config,
  work: (store: EventStore) => Promise<Result>,
): Promise<Result> {
  const stack = await openStack(config);
  const target = await applicationTarget(stack);
  // Statements are not prepared, because the secret may name a pooler. They handle batches, so parsing costs little.
  await using store = await openStackStore(stack, { applicationName: "cqrs-postgres projections", prepare: false });
  try {
    // Connect first, because a projection would wait for an unreachable server instead of failing.
    await store.sql`select from read_model.projection_version limit 0`;
    return await work(store);
  } catch (error) {
    throw explainConnectionError(explainProjectionError(error), target);
  }
}

/**
 * Loads the projections that a module exports: objects with a name, a version and a handle.
 *
 * @param path relative to the working folder; by default the example of this package
 * @param name selects the projection of that name
 * @throws {ScriptError} `NO_PROJECTION` (exit 2)
 */
export async function loadProjections(
  path: string | undefined,
  name: string | undefined,
): Promise<ProjectionDefinition[]> {
  const exported = path === undefined ? { orderSummary } : await importModule(resolve(process.cwd(), path));
  const found = Object.values(exported).filter(isDefinition);
  const chosen = found.filter((definition) => name === undefined || definition.name === name);
  if (chosen.length > 0) return chosen;
  const names = found.map((definition) => definition.name).join(", ");
  throw noProjection({
    message: name === undefined ? `${path} exports no projection` : `There is no projection ${name}`,
    why: `${path ?? "The example"} exports: ${names || "none"}.`,
    fix: names === "" ? passModule : `Choose one of: ${names}.${path === undefined ? orPassModule : ""}`,
  });
}

const passModule = "Pass a module that exports objects with name, version and handle: --module ./projections.ts";
const orPassModule = " Or pass the module that exports it: --module <path>.";

function noProjection(details: Pick<ScriptErrorDetails, "message" | "why" | "fix">): ScriptError {
  return new ScriptError({ code: "NO_PROJECTION", exitCode: exitCodes.usage, ...details });
}

async function importModule(path: string): Promise<Record<string, unknown>> {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
    throw noProjection({
      message: `There is no module ${path}`,
      fix: "Pass the path of a module that exports projections, relative to the working folder.",
    });
  }
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    throw noProjection({
      message: `The module ${path} cannot be loaded`,
      why: describeLoadError(error),
      fix: "Fix the error in it.",
    });
  }
}

/** Bun collects the syntax errors of a module in an AggregateError; Deno colours the path. */
function describeLoadError(error: unknown): string {
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
  const lines = errors.map((one) => {
    const { message = String(one), position } = (one ?? {}) as LoadError;
    return position?.file === undefined ? message : `${position.file}:${position.line}:${position.column}: ${message}`;
  });
  return stripVTControlCharacters(lines.join("\n"));
}

/** An error of loading a module; on Bun with its position. */
interface LoadError {
  readonly message?: string;
  readonly position?: { readonly file?: string; readonly line: number; readonly column: number } | null;
}

function isDefinition(value: unknown): value is ProjectionDefinition {
  const { name, version, events, handle } = (value ?? {}) as Partial<Record<keyof ProjectionDefinition, unknown>>;
  const isNamed = typeof name === "string" && typeof version === "number";
  return isNamed && (events === undefined || Array.isArray(events)) && typeof handle === "function";
}

/** How the run of one projection ended. */
export interface ProjectionEnd {
  readonly name: string;
  readonly version: number;
  readonly outcome: ProjectionOutcome;
}

/** How to run projections. */
export interface RunProjectionsOptions {
  readonly stopWhenCaughtUp: boolean;
  readonly partitions?: number;
  readonly signal: AbortSignal;
}

/** Runs projections concurrently. If one fails, the others stop once their events in flight are handled. */
export async function runProjections(
  store: EventStore,
  definitions: readonly ProjectionDefinition[],
  options: RunProjectionsOptions,
): Promise<ProjectionEnd[]> {
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const runs = definitions.map(async (definition) => {
    const { name, version } = definition;
    try {
      return { name, version, outcome: await project(store, { ...definition, ...options, signal }) };
    } catch (error) {
      failed.abort();
      throw error;
    }
  });
  await Promise.allSettled(runs);
  return await Promise.all(runs);
}

/**
 * Builds the defined version of a projection while the old version keeps serving, then cuts over to it.
 *
 * @throws {ScriptError} `ALREADY_SERVING` (exit 8) if that version is already serving
 */
export async function rebuildProjection(
  store: EventStore,
  definition: ProjectionDefinition,
  signal: AbortSignal,
): Promise<ProjectionEnd & { readonly replacedVersion: number | null }> {
  const { name, version } = definition;
  const lags = await readProjectionLag(store);
  const serving = lags.find((lag) => lag.name === name && lag.status === "serving");
  if (serving?.version === version) {
    throw new ScriptError({
      code: "ALREADY_SERVING",
      exitCode: exitCodes.refused,
      message: `Version ${version} of the projection ${name} is already serving`,
      why: "A version is built only once, so a rebuild needs a new version number.",
      fix: `Set its version to ${version + 1} in the module, then run this again.`,
    });
  }
  const [end] = await runProjections(store, [definition], { stopWhenCaughtUp: true, signal });
  return { ...(end as ProjectionEnd), replacedVersion: serving?.version ?? null };
}

function explainProjectionError(error: unknown): unknown {
  if (error instanceof InvalidInput) {
    return new ScriptError({
      code: "PROJECTION_REFUSED",
      exitCode: exitCodes.usage,
      message: error.message,
      fix: "Fix the definition in the module.",
    });
  }
  if (error instanceof LogRewound) {
    return new ScriptError({
      code: "LOG_REWOUND",
      exitCode: exitCodes.refused,
      message: error.message,
      why: "The projection has handled events that are no longer in the log.",
      fix: "Raise its version in the module and run bun run projections rebuild.",
    });
  }
  const code = errorCode(error);
  if (!code.startsWith("42") && code !== "2BP01") return error;
  return new ScriptError({
    code: "PROJECTION_MISFIT",
    exitCode: exitCodes.refused,
    message: (error as Error).message,
    why: `The database rejected a statement of the projection (${code}). The previous version keeps serving.`,
    fix: "Run bun run schema apply, or fix the projection's SQL.",
  });
}
