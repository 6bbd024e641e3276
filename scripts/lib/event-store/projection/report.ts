import { describeError } from "../describe-error.ts";
import type { RecordedEvent } from "../event.ts";
import type { LogDetails } from "../logger.ts";
import type { FailedAttempt } from "./attempt.ts";
import type { ProjectionRun } from "./definition.ts";

/** What a report says about the projection. */
type Reporting = Pick<ProjectionRun, "store" | "name" | "version" | "maxAttempts">;

/** A failure after a number of attempts. */
interface Failure extends FailedAttempt {
  readonly attempts: number;
}

/** An event is attempted again after a pause. */
export function reportRetry(run: Reporting, event: RecordedEvent, failure: Failure & { pauseMs: number }): void {
  const { attempts, pauseMs, error } = failure;
  const when = `attempt ${attempts} of ${run.maxAttempts} failed, the next follows in ${(pauseMs / 1_000).toFixed(1)} s`;
  const message = `projection ${run.name}: ${describeEvent(event)}: ${when}: ${describeError(error)}`;
  run.store.logger.warn(message, { ...details(run), attempts });
}

/** An event became a dead letter. */
export function reportDeadLetter(run: Reporting, event: RecordedEvent, { attempts, error }: Failure): void {
  const what = `became a dead letter after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}`;
  const message = `projection ${run.name}: ${describeEvent(event)} ${what}: ${describeError(error)}`;
  run.store.logger.warn(message, { ...details(run), attempts });
}

/** Events joined the dead letters of their streams. */
export function reportFollowers(run: Reporting, followers: readonly RecordedEvent[]): void {
  if (followers.length === 0) return;
  const what = `${followers.length} later events of streams with dead letters became dead letters too`;
  run.store.logger.info(`projection ${run.name}: ${what}`, { ...details(run), events: followers.length });
}

/** A run ends because its version is retired. */
export function reportRetired(run: Reporting): void {
  const { name, version } = run;
  const message = `version ${version} of the projection ${name} projects nothing: a later version has replaced it`;
  run.store.logger.warn(message, details(run));
}

/** A batch is divided in order to find the event that fails. */
export function reportHalving(run: Reporting, events: readonly RecordedEvent[], { kind, error }: FailedAttempt): void {
  const message = `projection ${run.name}: halving a batch of ${events.length} events: ${describeError(error)}`;
  // An idle handler takes as long as the lease each time.
  const level = kind === "idle" ? "warn" : "info";
  run.store.logger[level](message, { ...details(run), events: events.length });
}

function describeEvent({ aggregate, aggregateVersion, type }: RecordedEvent): string {
  return `event ${aggregateVersion} of ${aggregate.type} ${aggregate.id} (${type})`;
}

function details({ name, version }: Reporting): LogDetails {
  return { projection: name, version };
}
