import type { Sql } from "../../postgres/driver.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import type { Aggregate, DomainEvent, RecordedEvent } from "../event.ts";
import { readStream } from "../read.ts";
import type { EventStore } from "../store.ts";
import { enterVersionSchema, type ProjectionDefinition, type ProjectionStatus } from "./definition.ts";

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
  { attempts, error }: { readonly attempts: number; readonly error: string | null },
): Promise<void> {
  const letters = events.map((event) => ({
    name,
    version,
    stream_id: event.streamId,
    aggregate_version: event.aggregateVersion,
    aggregate_type: event.aggregate.type,
    aggregate_id: event.aggregate.id,
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
export async function replayDeadLetters<Event extends DomainEvent>(
  store: EventStore,
  definition: ProjectionDefinition<Event>,
): Promise<ReplayResult> {
  const { name, version } = definition;
  const streams = await store.sql<{ type: string; id: string }[]>`
    select distinct aggregate_type as type, aggregate_id as id
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
  const { name, version } = definition;
  const next: { aggregateVersion?: number } = {};
  try {
    return await inTransaction(store.sql, async (tx) => {
      const status = await lockStatus(tx, definition);
      const [letter] = await tx<{ aggregateVersion: number }[]>`
        select aggregate_version as "aggregateVersion" from read_model.dead_letter
        where name = ${name} and version = ${version}
          and stream_id = event_store.stream_id_of(${aggregate.type}, ${aggregate.id})
        order by aggregate_version limit 1 for update`;
      if (letter === undefined || status === "retired") return false;
      next.aggregateVersion = letter.aggregateVersion;
      await enterVersionSchema(tx, { ...definition, leaseMs: 0 }, status);
      const event = await readEvent({ ...store, sql: tx }, aggregate, letter.aggregateVersion);
      await definition.handle([event], tx);
      await tx`
        delete from read_model.dead_letter
        where name = ${name} and version = ${version}
          and stream_id = event_store.stream_id_of(${aggregate.type}, ${aggregate.id})
          and aggregate_version = ${letter.aggregateVersion}`;
      return true;
    });
  } catch (error) {
    if (next.aggregateVersion === undefined) throw error;
    await store.sql`
      update read_model.dead_letter
      set attempts = attempts + 1, error = ${describeError(error)}, updated_at = clock_timestamp()
      where name = ${name} and version = ${version}
        and stream_id = event_store.stream_id_of(${aggregate.type}, ${aggregate.id})
        and aggregate_version = ${next.aggregateVersion}`;
    return false;
  }
}

/** @returns the status of the version, which cannot change until the transaction ends */
async function lockStatus(tx: Sql, { name, version }: VersionKey): Promise<ProjectionStatus> {
  const [row] = await tx<{ status: ProjectionStatus }[]>`
    select status from read_model.projection_version where name = ${name} and version = ${version} for share`;
  return row?.status ?? "retired";
}

/** @returns an error as text that the column can store */
export function describeError(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.toWellFormed().replaceAll("\u0000", "").slice(0, 2_000);
}

async function readEvent(store: EventStore, aggregate: Aggregate, version: number): Promise<RecordedEvent> {
  const options = { afterVersion: version - 1, maxCount: 1 };
  for await (const event of readStream(store, aggregate, options)) return event;
  throw new Error(`${aggregate.type} ${aggregate.id} has no event ${version}`);
}
