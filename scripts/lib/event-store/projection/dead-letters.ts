import type { Sql } from "../../postgres/driver.ts";
import { isUuid } from "../check-aggregate.ts";
import { describeError } from "../describe-error.ts";
import type { Aggregate, DomainEvent, RecordedEvent } from "../event.ts";
import type { EventStore } from "../opened-store.ts";
import { readStream } from "../read.ts";
import { aggregateIdOf, streamIdOf } from "../stream-id.ts";
import { keepStored } from "../upcast.ts";
import { attempt, isMarked, runCode, transactionEnded } from "./attempt.ts";
import { enterVersionSchema, type ProjectionDefinition, type ProjectionStatus, withReason } from "./definition.ts";
import { refuseQualifiedNames } from "./qualified-names.ts";
import { upcastCopies } from "./upcast-copies.ts";

type VersionKey = Pick<ProjectionDefinition, "name" | "version">;

/** @returns which streams of the events have dead letters */
export async function findDeadLetteredStreams(
  sql: Sql,
  { name, version }: VersionKey,
  events: readonly RecordedEvent[],
): Promise<ReadonlySet<string>> {
  const streamIds = [...new Set(events.map(({ streamId }) => streamId))];
  const rows = await sql<{ streamId: string }[]>`
    select distinct stream_id as "streamId"
    from read_model.dead_letter
    where name = ${name} and version = ${version} and stream_id = any (${`{${streamIds}}`}::text::uuid[])`;
  return new Set(rows.map(({ streamId }) => streamId));
}

/** Records events as dead letters, for `replayDeadLetters()`. They stay in the log. */
export async function writeDeadLetters(
  sql: Sql,
  { name, version }: VersionKey,
  events: readonly RecordedEvent[],
  failure: { readonly attempts: number; readonly error?: unknown },
): Promise<void> {
  const { attempts } = failure;
  const error = "error" in failure ? describeError(failure.error) : null;
  const letters = events.map((event) => ({
    name,
    version,
    stream_id: event.streamId,
    aggregate_version: event.aggregateVersion,
    aggregate_type: event.aggregate.type,
    aggregate_id: aggregateIdOf(event.aggregate.id),
    aggregate_key: isUuid(event.aggregate.id) ? null : event.aggregate.id,
    event_type: event.type,
    attempts,
    error,
    updated_at: new Date(),
  }));
  await sql`
    insert into read_model.dead_letter
    select * from jsonb_populate_recordset(null::read_model.dead_letter, ${JSON.stringify(letters)}::text::jsonb)`;
}

/** What a replay did. */
export interface ReplayResult {
  /** Dead letters that were handled. */
  readonly replayed: number;
  /** Dead letters that are left. */
  readonly remaining: number;
}

/**
 * Handles dead letters once their cause is fixed: stream by stream, in order, one event per transaction. If an event
 * fails again, it and the later ones of its stream remain dead letters.
 *
 * The projection may be running. While a stream has dead letters, its new events join them.
 */
export function replayDeadLetters<Event extends DomainEvent>(
  store: EventStore,
  definition: ProjectionDefinition<Event>,
): Promise<ReplayResult> {
  return withReason(replayLetters(store, definition));
}

/**
 * Does what `replayDeadLetters()` does.
 *
 * @throws {RunFailed} if the definition is wrong
 */
export async function replayLetters(store: EventStore, definition: ProjectionDefinition): Promise<ReplayResult> {
  const { name, version } = definition;
  const streams = await store.sql<{ type: string; id: string }[]>`
    select distinct aggregate_type as type, coalesce(aggregate_key, aggregate_id::text) as id
    from read_model.dead_letter where name = ${name} and version = ${version}`;
  let replayed = 0;
  for (const aggregate of streams) {
    while (await replayNext(store, definition, aggregate)) replayed++;
  }
  const [row] = await store.sql<{ remaining: number }[]>`
    select count(*)::integer as remaining from read_model.dead_letter where name = ${name} and version = ${version}`;
  return { replayed, remaining: row?.remaining ?? 0 };
}

/** @returns whether the first dead letter of a stream was handled */
async function replayNext(store: EventStore, definition: ProjectionDefinition, aggregate: Aggregate): Promise<boolean> {
  let letter: number | undefined;
  const run = { name: definition.name, store, leaseMs: sessionGraceMs, abandoned: neverAborted };
  const outcome = await attempt(run, async (tx) => {
    const status = await lockStatus(tx, definition);
    letter = status === "retired" ? undefined : await lockFirstLetter(tx, definition, aggregate);
    if (letter === undefined) return;
    const event = await findEvent(tx, aggregate, letter);
    // An event may have been set aside because its handler is slow.
    await enterVersionSchema(tx, { ...definition, leaseMs: 0 }, status);
    await runCode(run, tx, async () => {
      const converted = upcastCopies([event], store.upcasters, definition.events);
      if (converted.length === 0) return;
      await definition.handle(converted, tx);
      await refuseQualifiedNames(tx, definition, status);
    });
    if (!(await isMarked(tx))) throw transactionEnded(definition);
    await deleteLetter(tx, definition, aggregate, letter);
  });
  if (letter === undefined) return false;
  if (!outcome.ok) await recordAttempt(store, definition, aggregate, { letter, error: outcome.error });
  return outcome.ok;
}

/** How long code whose session has ended may go on. */
const sessionGraceMs = 15_000;
const neverAborted = new AbortController().signal;

/** @returns the version of the first event of a stream that is a dead letter */
async function lockFirstLetter(
  tx: Sql,
  { name, version }: VersionKey,
  aggregate: Aggregate,
): Promise<number | undefined> {
  const [row] = await tx<{ aggregateVersion: number }[]>`
    select aggregate_version as "aggregateVersion" from read_model.dead_letter
    where name = ${name} and version = ${version} and stream_id = ${streamIdOf(aggregate)}
    order by aggregate_version limit 1 for update`;
  return row?.aggregateVersion;
}

async function deleteLetter(
  tx: Sql,
  { name, version }: VersionKey,
  aggregate: Aggregate,
  letter: number,
): Promise<void> {
  await tx`
    delete from read_model.dead_letter
    where name = ${name} and version = ${version} and stream_id = ${streamIdOf(aggregate)}
      and aggregate_version = ${letter}`;
}

async function recordAttempt(
  { sql }: EventStore,
  { name, version }: VersionKey,
  aggregate: Aggregate,
  { letter, error }: { readonly letter: number; readonly error: unknown },
): Promise<void> {
  await sql`
    update read_model.dead_letter
    set attempts = attempts + 1, error = ${describeError(error)}, updated_at = clock_timestamp()
    where name = ${name} and version = ${version} and stream_id = ${streamIdOf(aggregate)}
      and aggregate_version = ${letter}`;
}

/** @returns the status of the version, which cannot change until the transaction ends */
async function lockStatus(tx: Sql, { name, version }: VersionKey): Promise<ProjectionStatus> {
  const [row] = await tx<{ status: ProjectionStatus }[]>`
    select status from read_model.projection_version where name = ${name} and version = ${version} for share`;
  return row?.status ?? "retired";
}

async function findEvent(tx: Sql, aggregate: Aggregate, version: number): Promise<RecordedEvent> {
  const reader = { sql: tx, upcasters: keepStored } as EventStore;
  for await (const event of readStream(reader, aggregate, { afterVersion: version - 1, maxCount: 1 })) return event;
  throw new Error(`${aggregate.type} ${aggregate.id} has no event ${version}`);
}
