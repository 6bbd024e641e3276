import { setTimeout as sleep } from "node:timers/promises";
import { errorCode, isServerUnavailable } from "../../postgres/failure.ts";
import type { Retries } from "../availability.ts";
import type { DomainEvent } from "../event.ts";
import type { EventStore } from "../opened-store.ts";
import { untilAborted } from "../waiting.ts";
import { idleTimeouts } from "./attempt.ts";
import {
  LeaseLost,
  type ProjectionOutcome,
  type ProjectionRun,
  type ProjectOptions,
  type RunFailed,
  refused,
  withReason,
} from "./definition.ts";
import { acquireLease } from "./lease.ts";
import { pumpEvents } from "./pump.ts";
import { reportRetired } from "./report.ts";
import { makeRun } from "./run.ts";
import { registerVersion } from "./version.ts";

/**
 * Runs a projection until the signal is aborted. Each event of the log takes effect exactly once.
 *
 * One process runs it at a time. Another takes over if the owner sends no heartbeat for `leaseMs`; anything the
 * previous owner does after that is rolled back. If the connection is lost, it retries until the server is back.
 *
 * An event that fails `maxAttempts` times, with growing pauses in between, becomes a dead letter, and so do the later
 * events of its stream, until `replayDeadLetters()`. During the pauses, the other partitions continue.
 *
 * A version above the serving one fills its own tables. Once it has caught up, it cuts over and serves. If `partitions`
 * changed, the old partitions first catch up to a common position.
 *
 * Once the signal is aborted, the batch in flight has 5 seconds to finish. After that, it is rolled back, and the next
 * run handles its events again.
 *
 * @returns why the run ended
 * @throws {InvalidInput} if an option is invalid, a later version exists, `events` differs from what this version began
 * with, or the code ends its transaction or names a schema
 * @throws the server's error if a statement does not match the database (SQLSTATE class 42); the error of the
 * connection, if the server has never answered and 5 seconds of retries have passed; what `create` or `refresh` throws
 */
export function project<Event extends DomainEvent>(
  store: EventStore,
  options: ProjectOptions<Event>,
): Promise<ProjectionOutcome> {
  return withReason(runProjection(store, options));
}

/**
 * Does what `project()` does.
 *
 * @throws {RunFailed} for failures that are not the store's
 */
export async function runProjection(store: EventStore, options: ProjectOptions): Promise<ProjectionOutcome> {
  const abandoned = new AbortController();
  const run = makeRun(store, options, { call: "project()", abandoned: abandoned.signal });
  if (store.inline?.includes(run.name, run.version)) throw runsInline(run);
  try {
    return await untilAborted(runUntilStopped(run), run.signal, batchGraceMs);
  } catch (error) {
    if (!isStop(run, error)) throw error;
    abandoned.abort(error);
    return "stopped";
  }
}

function runsInline({ name, version }: ProjectionRun): RunFailed {
  return refused(
    `this store runs version ${version} of the projection ${name} inline: its tables are up to date; ` +
      "to run it with project() instead, take it out of inlineProjections",
  );
}

/** How long the batch in flight may take once the signal is aborted. */
const batchGraceMs = 5_000;

async function runUntilStopped(run: ProjectionRun): Promise<ProjectionOutcome> {
  const retries = run.store.availability.retries();
  while (!run.signal.aborted) {
    try {
      const outcome = await runOnce(run, retries);
      if (outcome !== undefined) return outcome;
    } catch (error) {
      if (isStop(run, error)) break;
      if (error instanceof LeaseLost) run.store.logger.warn(error.message, { projection: run.name });
      else if (isServerUnavailable(error)) retries.failed(error);
      else if (!isRace(error) && !isIdleTimeout(error)) throw error;
      await sleep(100, undefined, { signal: run.signal }).catch(() => undefined);
    }
  }
  return "stopped";
}

/** Whether an error comes from stopping the run, or no longer matters because the run is being stopped. */
function isStop({ signal }: ProjectionRun, error: unknown): boolean {
  return signal.aborted && (error === signal.reason || isServerUnavailable(error));
}

/** A serialisation failure or deadlock of our own statements, with a run that is about to be replaced. */
function isRace(error: unknown): boolean {
  return ["40001", "40P01"].includes(errorCode(error));
}

/** The server ended a transaction of our own that was idle for too long, because this process was suspended. */
function isIdleTimeout(error: unknown): boolean {
  return idleTimeouts.has(errorCode(error));
}

async function runOnce(run: ProjectionRun, retries: Retries): Promise<ProjectionOutcome | undefined> {
  const status = await registerVersion(run);
  retries.succeeded();
  if (status === "retired") {
    reportRetired(run);
    return "retired";
  }
  await using lease = await acquireLease(run);
  // Retired, removed or stopped in the meantime: the next round finds out which.
  if (lease === undefined) return undefined;
  return await pumpEvents(run, lease);
}
