import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { isServerAway } from "../../postgres/failure.ts";
import { InvalidInput } from "../errors.ts";
import type { DomainEvent } from "../event.ts";
import type { EventStore } from "../store.ts";
import { LeaseLost, type ProjectionOutcome, type ProjectionRun, type ProjectOptions } from "./definition.ts";
import { acquireLease } from "./lease.ts";
import { pumpEvents } from "./pump.ts";
import { registerVersion } from "./version.ts";

/**
 * Runs a projection: gives it the events of the log, each with effect exactly once, as long as the signal lets it.
 *
 * Of several processes one works, and another takes over when it shows no sign of life for `leaseMs`; whatever the former
 * owner still does then is undone. A lost connection is waited out.
 *
 * An event that fails `maxAttempts` times is set aside, and so are the later ones of its stream, until
 * `replayDeadLetters()`; the other streams go on.
 *
 * A version above the one that serves fills tables of its own beside it, takes its place once it has come as far, and
 * goes on as the one that serves. With other `partitions` than before, all come to one position first.
 *
 * @throws {InvalidInput} when an option makes no sense, or a later version serves
 * @throws what the server says when the program and its tables don't fit together (class 42)
 */
export async function project<Event extends DomainEvent>(
  store: EventStore,
  options: ProjectOptions<Event>,
): Promise<ProjectionOutcome> {
  const run = fillDefaults(store, options);
  while (!run.signal.aborted) {
    try {
      const outcome = await runOnce(run);
      if (outcome !== undefined) return outcome;
    } catch (error) {
      if (isServerAway(error) && !run.signal.aborted) await store.wakeUps.reset();
      else if (!(error instanceof LeaseLost)) throw error;
      await sleep(100);
    }
  }
  return "stopped";
}

async function runOnce(run: ProjectionRun): Promise<ProjectionOutcome | undefined> {
  if ((await registerVersion(run)) === "retired") return "retired";
  await using lease = await acquireLease(run);
  // Undefined when it was retired meanwhile, or is to stop: the next round finds out.
  if (lease === undefined) return undefined;
  return await pumpEvents(run, lease);
}

const neverAborted = new AbortController().signal;

function fillDefaults(store: EventStore, options: ProjectOptions): ProjectionRun {
  const run = {
    store,
    owner: `${hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`,
    name: options.name,
    version: options.version,
    events: options.events,
    relations: options.relations,
    handle: options.handle.bind(options),
    refresh: options.refresh?.bind(options),
    partitions: options.partitions ?? 1,
    batchSize: options.batchSize ?? 1_000,
    maxAttempts: options.maxAttempts ?? 5,
    leaseMs: options.leaseMs ?? 15_000,
    stopWhenCaughtUp: options.stopWhenCaughtUp ?? false,
    signal: options.signal ?? neverAborted,
  };
  for (const name of ["version", "partitions", "batchSize", "maxAttempts", "leaseMs"] as const) {
    if (Number.isSafeInteger(run[name]) && run[name] >= 1) continue;
    throw new InvalidInput(`${name} of the projection ${run.name} is ${run[name]}; it has to be a whole number from 1`);
  }
  return run;
}
