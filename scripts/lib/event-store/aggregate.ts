import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../retry.ts";
import { type AppendResult, appendEvents } from "./append.ts";
import { explainError, VersionConflict } from "./errors.ts";
import type { DomainEvent, NewEvent, RecordedEvent } from "./event.ts";
import { toJson } from "./json.ts";
import { readStream } from "./read.ts";
import type { EventStore } from "./store.ts";

/** How to derive the state of an aggregate from its events. */
export interface AggregateDefinition<State, Event extends DomainEvent> {
  /** Type of the aggregate, such as `Order`. */
  readonly type: string;
  initialState(): State;
  /** @returns the state after the event; may modify and return the same object */
  evolve(state: State, event: RecordedEvent<Event>): State;
  /** Saves snapshots, so that loading reads only later events. The state must be valid as JSON. @default none */
  readonly snapshots?: {
    /** Version of the shape of the state. Increase it whenever `evolve` produces a different shape. */
    readonly stateVersion: number;
    /** Save a snapshot when loading has read at least this many events. */
    readonly everyEvents: number;
  };
}

/** An aggregate as loaded from its events. */
export interface LoadedAggregate<State> {
  readonly state: State;
  /** Version of the aggregate; 0 if it has no events. */
  readonly version: number;
}

/** How to carry out a command. */
export interface DecideOptions {
  /** Retries after a version conflict; @default 5 */
  readonly retries?: number;
  /** Causation id for events that have none. */
  readonly causationId?: string;
  /** Correlation id for events that have none. */
  readonly correlationId?: string;
  /** Stops retrying. */
  readonly signal?: AbortSignal;
}

/** The state that a decision was based on, and what was appended. */
export interface Decision<State> extends LoadedAggregate<State> {
  /** Undefined if there was no event to append. */
  readonly appended: AppendResult | undefined;
}

/** Loads an aggregate by folding its events, starting from its latest snapshot if it has one. */
export async function loadAggregate<State, Event extends DomainEvent>(
  store: EventStore,
  definition: AggregateDefinition<State, Event>,
  id: string,
): Promise<LoadedAggregate<State>> {
  const snapshot = await loadSnapshot(store, definition, id);
  let state = snapshot.version === 0 ? definition.initialState() : snapshot.state;
  let version = snapshot.version;
  for await (const event of readStream<Event>(store, { type: definition.type, id }, { afterVersion: version })) {
    state = definition.evolve(state, event);
    version = event.aggregateVersion;
  }
  if (version - snapshot.version >= (definition.snapshots?.everyEvents ?? Number.POSITIVE_INFINITY)) {
    await saveSnapshot(store, definition, id, { state, version, redactions: snapshot.redactions });
  }
  return { state, version };
}

/**
 * Carries out a command: loads the aggregate, calls `decision`, and appends the events it returns. If another writer
 * has appended in the meantime, it loads and decides again.
 *
 * @param decision returns the events to append, or none if nothing changes; throws to reject the command
 * @throws {VersionConflict} if every attempt conflicted with another writer
 * @throws the error of `decision`, or the reason of the signal
 */
export async function decide<State, Event extends DomainEvent>(
  store: EventStore,
  definition: AggregateDefinition<State, Event>,
  id: string,
  decision: (state: State, version: number) => readonly NewEvent<Event>[] | Promise<readonly NewEvent<Event>[]>,
  options: DecideOptions = {},
): Promise<Decision<State>> {
  const retries = options.retries ?? 5;
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted();
    const loaded = await loadAggregate(store, definition, id);
    const events = (await decision(loaded.state, loaded.version)).map((event) => addIds(event, options));
    if (events.length === 0) return { ...loaded, appended: undefined };
    try {
      const expectedVersion = loaded.version;
      const appended = await appendEvents(store, { type: definition.type, id }, events, { expectedVersion });
      return { ...loaded, appended };
    } catch (error) {
      if (!(error instanceof VersionConflict) || attempt > retries) throw error;
      await sleep(backoffMs(attempt, { firstMs: 5, maxMs: 500 }));
    }
  }
}

function addIds<Event extends DomainEvent>(event: NewEvent<Event>, options: DecideOptions): NewEvent<Event> {
  const { causationId = options.causationId, correlationId = options.correlationId } = event;
  return {
    ...event,
    ...(causationId === undefined ? {} : { causationId }),
    ...(correlationId === undefined ? {} : { correlationId }),
  };
}

interface Snapshot<State> extends LoadedAggregate<State> {
  /** Number of redactions of the stream before it was read. */
  readonly redactions: bigint;
}

/** @returns version 0 and no state if there is no snapshot */
async function loadSnapshot<State, Event extends DomainEvent>(
  { sql }: EventStore,
  { type, snapshots }: AggregateDefinition<State, Event>,
  id: string,
): Promise<Snapshot<State>> {
  const none = { state: undefined as State, version: 0, redactions: 0n };
  if (snapshots === undefined) return none;
  const [row] = await sql<Snapshot<State>[]>`
    select state, coalesce(aggregate_version, 0) as version, redactions
    from (
      select count(*) as redactions from event_store.redaction
      where stream_id = event_store.stream_id_of(${type}, ${id})
    ) as made
    left join event_store.load_snapshot(${type}, ${id}, ${snapshots.stateVersion}) as snapshot on true`;
  return row ?? none;
}

/** Saves nothing if an event was redacted since the aggregate was loaded. */
async function saveSnapshot<State, Event extends DomainEvent>(
  { sql }: EventStore,
  { type, snapshots }: AggregateDefinition<State, Event>,
  id: string,
  { state, version, redactions }: Snapshot<State>,
): Promise<void> {
  const json = toJson(state, `the state of ${type} ${id}`);
  try {
    await sql`
      select event_store.save_snapshot(${type}, ${id}, ${version}, ${snapshots?.stateVersion ?? 1},
        ${json}::text::jsonb, ${redactions})`;
  } catch (error) {
    throw explainError(error);
  }
}
