import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../retry.ts";
import { type AppendResult, appendEvents } from "./append.ts";
import { explainError, VersionConflict } from "./errors.ts";
import type { DomainEvent, NewEvent, RecordedEvent } from "./event.ts";
import { toJson } from "./json.ts";
import { readStream } from "./read.ts";
import type { EventStore } from "./store.ts";

/** How a kind of aggregate comes from its events. */
export interface AggregateDefinition<State, Event extends DomainEvent> {
  /** Such as `Order`. */
  readonly type: string;
  initialState(): State;
  /** @returns the state after an event; it may be the same object, changed */
  evolve(state: State, event: RecordedEvent<Event>): State;
  /** Saves the state now and then, so that loading needs only the later events. The state has to be JSON. */
  readonly snapshots?: {
    /** Version of the form of the state: raise it whenever `evolve` makes another one. */
    readonly stateVersion: number;
    /** How many events are read before a snapshot is saved again. */
    readonly everyEvents: number;
  };
}

/** An aggregate as its events made it. */
export interface LoadedAggregate<State> {
  readonly state: State;
  /** Version of the aggregate; 0 when it has no events. */
  readonly version: number;
}

/** How to carry out a command. */
export interface DecideOptions {
  /** How often to decide again when another was faster; @default 5 */
  readonly retries?: number;
  /** Given to each event that has none. */
  readonly causationId?: string;
  /** Given to each event that has none. */
  readonly correlationId?: string;
  readonly signal?: AbortSignal;
}

/** What a command led to. */
export interface Decision<State> extends LoadedAggregate<State> {
  /** Undefined when nothing was decided. */
  readonly appended: AppendResult | undefined;
}

/** Folds an aggregate from its events, from its snapshot on where there is one. */
export async function loadAggregate<State, Event extends DomainEvent>(
  store: EventStore,
  definition: AggregateDefinition<State, Event>,
  id: string,
): Promise<LoadedAggregate<State>> {
  const snapshot = await loadSnapshot(store, definition, id);
  let state = snapshot?.state ?? definition.initialState();
  let version = snapshot?.version ?? 0;
  for await (const event of readStream<Event>(store, { type: definition.type, id }, { afterVersion: version })) {
    state = definition.evolve(state, event);
    version = event.aggregateVersion;
  }
  if (version - (snapshot?.version ?? 0) >= (definition.snapshots?.everyEvents ?? Number.POSITIVE_INFINITY)) {
    await saveSnapshot(store, definition, id, { state, version });
  }
  return { state, version };
}

/**
 * Carries out a command: loads the aggregate, lets the function decide on events, and appends them if nobody else has
 * appended meanwhile; otherwise loads and decides again.
 *
 * @param decision returns the events that the command leads to, none when it changes nothing, or throws to refuse it
 * @throws {VersionConflict} when others were faster each time
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
    const events = (await decision(loaded.state, loaded.version)).map((event) => carryIds(event, options));
    if (events.length === 0) return { ...loaded, appended: undefined };
    try {
      const expectedVersion = loaded.version;
      const appended = await appendEvents(store, { type: definition.type, id }, events, { expectedVersion });
      return { ...loaded, appended };
    } catch (error) {
      if (!(error instanceof VersionConflict) || attempt > retries) throw error;
      await sleep(backoffMs(attempt, { firstMs: 5, longestMs: 500 }));
    }
  }
}

function carryIds<Event extends DomainEvent>(event: NewEvent<Event>, options: DecideOptions): NewEvent<Event> {
  const { causationId = options.causationId, correlationId = options.correlationId } = event;
  return {
    ...event,
    ...(causationId === undefined ? {} : { causationId }),
    ...(correlationId === undefined ? {} : { correlationId }),
  };
}

async function loadSnapshot<State, Event extends DomainEvent>(
  { sql }: EventStore,
  { type, snapshots }: AggregateDefinition<State, Event>,
  id: string,
): Promise<LoadedAggregate<State> | undefined> {
  if (snapshots === undefined) return undefined;
  const [row] = await sql<LoadedAggregate<State>[]>`
    select state, aggregate_version as version from event_store.load_snapshot(${type}, ${id}, ${snapshots.stateVersion})`;
  return row;
}

async function saveSnapshot<State, Event extends DomainEvent>(
  { sql }: EventStore,
  { type, snapshots }: AggregateDefinition<State, Event>,
  id: string,
  { state, version }: LoadedAggregate<State>,
): Promise<void> {
  const json = toJson(state, `the state of ${type} ${id}`);
  try {
    await sql`
      select event_store.save_snapshot(${type}, ${id}, ${version}, ${snapshots?.stateVersion ?? 1}, ${json}::text::jsonb)`;
  } catch (error) {
    throw explainError(error);
  }
}
