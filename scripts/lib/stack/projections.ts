import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { explainServerError } from "../cli/server-error.ts";
import type { Config } from "../config.ts";
import { describeError } from "../event-store/describe-error.ts";
import { InvalidInput, LogRewound } from "../event-store/errors.ts";
import { type ReplayResult, replayLetters } from "../event-store/projection/dead-letters.ts";
import { type ProjectionDefinition, type ProjectionOutcome, RunFailed } from "../event-store/projection/definition.ts";
import { readProjectionLag } from "../event-store/projection/progress.ts";
import { runProjection } from "../event-store/projection/project.ts";
import { ProjectionRunning } from "../event-store/projection/remove.ts";
import type { EventStore } from "../event-store/store.ts";
import type { Upcasters } from "../event-store/upcast.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { errorCode, isMisfit, isServerUnavailable } from "../postgres/failure.ts";
import { openStackStore } from "./open-store.ts";
import { loadProjections } from "./projection-module.ts";
import { applicationTarget, openStack } from "./stack.ts";

/**
 * Does work with the event store of a stack, with the application's login.
 *
 * @throws {ScriptError} for the expected errors of the driver and the event store
 */
export async function withStackStore<Result>(
  config: Config,
  work: (store: EventStore) => Promise<Result>,
  upcasters: Upcasters = {},
): Promise<Result> {
  const stack = await openStack(config);
  const own = await applicationTarget(stack);
  // --database may name another one than the secret.
  const target = { ...own, database: config.database ?? own.database };
  // Statements are not prepared, because the secret may name a pooler. They handle batches, so parsing costs little.
  const applicationName = "cqrs-postgres projections";
  const { database } = target;
  await using store = await openStackStore(stack, { database, applicationName, prepare: false, upcasters });
  try {
    // Connect first, because a projection would wait for an unreachable server instead of failing.
    await store.sql`select from read_model.projection_version limit 0`;
    return await work(store);
  } catch (error) {
    throw explainProjectionError(error) ?? explainConnectionError(error, target);
  }
}

/** Which projections a command is about. */
export interface ChosenProjections {
  /** Path of a module; @default the example of this package */
  readonly module: string | undefined;
  /** @default all that the module exports */
  readonly name: string | undefined;
}

/** Does work with projections of a module, in a store that has the module's upcasters. */
export async function withProjections<Result>(
  config: Config,
  { module, name }: ChosenProjections,
  work: (store: EventStore, definitions: readonly ProjectionDefinition[]) => Promise<Result>,
): Promise<Result> {
  const { definitions, upcasters } = await loadProjections(module, name);
  return await withStackStore(config, (store) => work(store, definitions), upcasters);
}

/** How the run of one projection ended. */
export interface ProjectionEnd {
  readonly name: string;
  readonly version: number;
  readonly outcome: ProjectionOutcome;
  /** Number of its dead letters; null if the server did not tell. */
  readonly deadLetters: number | null;
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
      const outcome = await runProjection(store, { ...definition, ...options, signal });
      return { name, version, outcome, deadLetters: await countDeadLetters(store, definition) };
    } catch (error) {
      failed.abort();
      throw error;
    }
  });
  await Promise.allSettled(runs);
  return await Promise.all(runs);
}

async function countDeadLetters({ sql }: EventStore, { name, version }: ProjectionDefinition): Promise<number | null> {
  try {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::integer as count from read_model.dead_letter where name = ${name} and version = ${version}`;
    return row?.count ?? 0;
  } catch (error) {
    // A run can be stopped while the server is unavailable.
    if (isServerUnavailable(error)) return null;
    throw error;
  }
}

/** What a rebuild did. */
export interface Rebuild extends ProjectionEnd {
  readonly replacedVersion: number | null;
}

/**
 * Builds the defined version of each projection while its old version keeps serving, then cuts over to it.
 *
 * @throws {ScriptError} `ALREADY_SERVING` (exit 8) if that version is already serving
 */
export async function rebuildProjections(
  store: EventStore,
  definitions: readonly ProjectionDefinition[],
  signal: AbortSignal,
): Promise<Rebuild[]> {
  const rebuilt: Rebuild[] = [];
  for (const definition of definitions) rebuilt.push(await rebuildProjection(store, definition, signal));
  return rebuilt;
}

/** Retries the dead letters of each projection. */
export async function replayProjections(
  store: EventStore,
  definitions: readonly ProjectionDefinition[],
): Promise<(ReplayResult & { readonly name: string })[]> {
  const replayed: (ReplayResult & { readonly name: string })[] = [];
  for (const one of definitions) replayed.push({ name: one.name, ...(await replayLetters(store, one)) });
  return replayed;
}

async function rebuildProjection(
  store: EventStore,
  definition: ProjectionDefinition,
  signal: AbortSignal,
): Promise<Rebuild> {
  const { name, version } = definition;
  const lags = await readProjectionLag(store);
  const serving = lags.find((lag) => lag.name === name && lag.status === "serving");
  if (serving?.version === version) {
    throw new ScriptError({
      code: "ALREADY_SERVING",
      exitCode: exitCodes.refused,
      message: `Version ${version} of the projection ${name} is already serving`,
      why: "A version is built only once, so a rebuild needs a new version number.",
      fix:
        `Set its version to ${version + 1} in the module, then run this again. ` +
        `If this version only has to catch up, run ${runLine("projections run")} --once.`,
    });
  }
  const [end] = await runProjections(store, [definition], { stopWhenCaughtUp: true, signal });
  return { ...(end as ProjectionEnd), replacedVersion: serving?.version ?? null };
}

/** @returns undefined if the error is the store's, or is not expected */
function explainProjectionError(error: unknown): ScriptError | undefined {
  if (error instanceof RunFailed) return explainRun(error);
  if (error instanceof InvalidInput) return refusedDefinition(error);
  if (error instanceof ProjectionRunning) {
    return new ScriptError({
      code: "PROJECTION_RUNNING",
      exitCode: exitCodes.locked,
      message: error.message,
      why: `${error.owner} (host, process and run) holds its lease.`,
      fix: "Stop that process, then run this again.",
    });
  }
  if (error instanceof LogRewound) return rewound(error);
  if (errorCode(error) === "2BP01") return dependedUpon(error as Error);
  return isMisfit(error) ? misfit(error as Error) : undefined;
}

function rewound({ message }: LogRewound): ScriptError {
  return new ScriptError({
    code: "LOG_REWOUND",
    exitCode: exitCodes.refused,
    message,
    why: "The projection has handled events that are no longer in the log.",
    fix: `Raise its version in the module and run ${runLine("projections rebuild")}.`,
  });
}

function explainRun({ kind, reason }: RunFailed): ScriptError {
  if (kind === "refused") return refusedDefinition(reason as Error);
  if (kind === "misfit") return misfit(reason as Error);
  const explained = explainServerError(reason);
  if (explained instanceof ScriptError) return explained;
  return new ScriptError({
    code: "PROJECTION_FAILED",
    exitCode: exitCodes.bug,
    message: describeError(reason),
    why: "The create or refresh of a projection failed. The previous version keeps serving.",
    fix: "Fix the code in the module.",
  });
}

function refusedDefinition({ message }: Error): ScriptError {
  return new ScriptError({
    code: "PROJECTION_REFUSED",
    exitCode: exitCodes.usage,
    message,
    fix: "Fix the definition in the module.",
  });
}

function misfit(error: Error): ScriptError {
  return new ScriptError({
    code: "PROJECTION_MISFIT",
    exitCode: exitCodes.refused,
    message: error.message,
    why: `The database rejected a statement of the projection (${errorCode(error)}). The previous version keeps serving.`,
    fix: `Run ${runLine("schema apply")}, or fix the projection's SQL.`,
  });
}

function dependedUpon({ message }: Error): ScriptError {
  return new ScriptError({
    code: "PROJECTION_MISFIT",
    exitCode: exitCodes.refused,
    message,
    why: "The tables cannot be dropped (2BP01). Nothing was changed.",
    fix: "Drop the objects that depend on them, then run this again.",
  });
}
