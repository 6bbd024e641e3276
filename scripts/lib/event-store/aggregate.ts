import { backoffMs, retry } from "../retry.ts";
import { type AppendResult, prepareAppend, readResult, sendAppend } from "./append.ts";
import { checkOptions, isCount, isSignal, isText, isTransaction, type OptionChecks } from "./check-options.ts";
import { explainError, InvalidInput, VersionConflict } from "./errors.ts";
import type { CallerTransaction, DomainEvent, NewEvent, RecordedEvent } from "./event.ts";
import { toJson } from "./json.ts";
import { readStreamPages } from "./read.ts";
import { recordEvents } from "./record-events.ts";
import type { EventStore } from "./store.ts";
import { aggregateIdOf, streamIdOf } from "./stream-id.ts";
import { upcastEvents } from "./upcast.ts";
import { untilAborted } from "./waiting.ts";

/** How to derive the state of an aggregate from its events. */
export interface AggregateDefinition<State, Event extends DomainEvent> {
  /** Type of the aggregate, such as `Order`. */
  readonly type: string;
  initialState(): State;
  /** @returns the state after the event; may modify and return the same object */
  evolve(state: State, event: RecordedEvent<Event>): State;
  /**
   * Saves snapshots, so that loading reads only later events. The state must consist of what JSON restores: scalars,
   * arrays and plain objects. @default none
   */
  readonly snapshots?: SnapshotOptions;
}

/** When to save snapshots. */
export interface SnapshotOptions {
  /** Version of the shape of the state. Increase it whenever `evolve` produces a different shape. */
  readonly stateVersion: number;
  /** Save a snapshot when loading has read at least this many events. */
  readonly everyEvents: number;
}

const snapshotOptions: OptionChecks<SnapshotOptions> = { stateVersion: isCount(1), everyEvents: isCount(1) };

/** An aggregate as loaded from its events. */
export interface LoadedAggregate<State> {
  readonly state: State;
  /** Version of the aggregate; 0 if it has no events. */
  readonly version: number;
}

/** How to load an aggregate. */
export interface LoadOptions {
  /** The caller's transaction to read in, on its connection. It sees its own events, and saves no snapshot. */
  readonly transaction?: CallerTransaction;
}

const loadOptions: OptionChecks<LoadOptions> = { transaction: isTransaction };

/** How to carry out a command. */
export interface DecideOptions {
  /** Retries after a version conflict; @default 5 */
  readonly retries?: number;
  /** Causation id for events that have none. */
  readonly causationId?: string;
  /** Correlation id for events that have none. */
  readonly correlationId?: string;
  /** Ends the call, unless the append was sent: then it waits one more second for the answer. */
  readonly signal?: AbortSignal;
  /** The caller's transaction to load and append in, on its connection, without waiting for other calls. */
  readonly transaction?: CallerTransaction;
}

const decideOptions: OptionChecks<DecideOptions> = {
  retries: isCount(0),
  causationId: isText,
  correlationId: isText,
  signal: isSignal,
  transaction: isTransaction,
};

/** The aggregate after the command, and what was appended. */
export interface Decision<State> extends LoadedAggregate<State> {
  /** Undefined if there was no event to append. */
  readonly appended: AppendResult | undefined;
}

/** Returns the events to append, or none if nothing changes; throws to reject the command. */
export type Decide<State, Event extends DomainEvent> = (
  state: State,
  version: number,
) => readonly NewEvent<Event>[] | Promise<readonly NewEvent<Event>[]>;

/**
 * Loads an aggregate by folding its events, starting from its latest snapshot if it has one.
 *
 * @throws {InvalidInput} if an option is invalid, or if the state is due for a snapshot and JSON cannot represent it
 */
export async function loadAggregate<State, Event extends DomainEvent>(
  store: EventStore,
  definition: AggregateDefinition<State, Event>,
  id: string,
  options: LoadOptions = {},
): Promise<LoadedAggregate<State>> {
  checkOptions(options, loadOptions, "loadAggregate()");
  const { snapshots } = definition;
  if (snapshots !== undefined) checkOptions(snapshots, snapshotOptions, "snapshots");
  const snapshot = await loadSnapshot(options.transaction ?? store.sql, definition, id);
  let state = snapshot.version === 0 ? definition.initialState() : snapshot.state;
  let version = snapshot.version;
  const aggregate = { type: definition.type, id };
  for await (const { events, stored } of readStreamPages(store, aggregate, { ...options, afterVersion: version })) {
    state = fold(definition, state, events as readonly RecordedEvent<Event>[]);
    // The version of the stream, even if upcasters drop its last event.
    version = stored.at(-1)?.aggregateVersion ?? version;
  }
  const isDue = version - snapshot.version >= (snapshots?.everyEvents ?? Number.POSITIVE_INFINITY);
  if (isDue && options.transaction === undefined) {
    await saveSnapshot(store, definition, id, { state, version, redactions: snapshot.redactions });
  }
  return { state, version };
}

function fold<State, Event extends DomainEvent>(
  definition: AggregateDefinition<State, Event>,
  state: State,
  events: readonly RecordedEvent<Event>[],
): State {
  return events.reduce((before, event) => definition.evolve(before, event), state);
}

const backoff = { firstMs: 5, maxMs: 500 };

/** A decision that takes longer, for example because it hangs, no longer keeps others waiting. */
const turnMs = 5_000;

/**
 * Carries out a command: loads the aggregate, calls `decision`, and appends the events it returns.
 *
 * Calls of this process for one aggregate take turns, so that they do not conflict. If another process has appended in
 * the meantime, it loads and decides again.
 *
 * @returns the aggregate after its events
 * @throws {VersionConflict} if the first attempt and every retry conflicted with another writer
 * @throws the error of `decision`, or the reason of the signal
 */
export async function decide<State, Event extends DomainEvent>(
  store: EventStore,
  definition: AggregateDefinition<State, Event>,
  id: string,
  decision: Decide<State, Event>,
  options: DecideOptions = {},
): Promise<Decision<State>> {
  checkOptions(options, decideOptions, "decide()");
  const { retries = 5, signal, transaction } = options;
  const pauseMs = (error: unknown, attempt: number) =>
    error instanceof VersionConflict && attempt <= retries ? backoffMs(attempt, backoff) : undefined;
  const work = () => retry(() => decideOnce(store, definition, id, { ...options, decision }), { pauseMs, signal });
  // A transaction keeps its streams locked after the call: a call that waits for the lock would keep the turn.
  if (transaction !== undefined) return await work();
  const streamId = streamIdOf({ type: definition.type, id });
  return await store.decisions.take(streamId, work, { turnMs, signal });
}

interface Command<State, Event extends DomainEvent> extends DecideOptions {
  readonly decision: Decide<State, Event>;
}

async function decideOnce<State, Event extends DomainEvent>(
  store: EventStore,
  definition: AggregateDefinition<State, Event>,
  id: string,
  command: Command<State, Event>,
): Promise<Decision<State>> {
  const { signal, transaction } = command;
  const load = () =>
    untilAborted(loadAggregate(store, definition, id, transaction === undefined ? {} : { transaction }), signal);
  const loaded = await load();
  const decided = await untilAborted(Promise.resolve(command.decision(loaded.state, loaded.version)), signal);
  if (!Array.isArray(decided)) throw new InvalidInput("the decision returned no array of events");
  if (decided.length === 0) return { ...loaded, appended: undefined };
  const events = decided.map((event) => addIds<Event>(event, command));
  const aggregate = { type: definition.type, id };
  const append = { ...prepareAppend(aggregate, events, loaded.version), isTimed: true };
  const row = await sendAppend(store, append, command);
  const result = readResult(row, append.ids);
  // An earlier call has appended them, perhaps before other events.
  if (result.isDuplicate) return { ...(await load()), appended: result };
  const stored = recordEvents(events, { aggregate, result, occurredAt: row.now as Date });
  const appended = upcastEvents(stored, store.upcasters) as readonly RecordedEvent<Event>[];
  const state = fold(definition, loaded.state, appended);
  return { state, version: result.lastVersion, appended: result };
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

const loadSnapshotStatement = `
  select state, coalesce(aggregate_version, 0) as version, redactions
  from (
    select count(*) as redactions from event_store.redaction where stream_id = event_store.stream_id_of($1, $2::uuid)
  ) as made
  left join event_store.load_snapshot($1, $2::uuid, $3::integer) as snapshot on true`;

/** @returns version 0 and no state if there is no snapshot */
async function loadSnapshot<State, Event extends DomainEvent>(
  sql: CallerTransaction,
  { type, snapshots }: AggregateDefinition<State, Event>,
  id: string,
): Promise<Snapshot<State>> {
  const none = { state: undefined as State, version: 0, redactions: 0n };
  if (snapshots === undefined) return none;
  const parameters = [type, aggregateIdOf(id), snapshots.stateVersion];
  const [row] = await sql.unsafe<Snapshot<State>[]>(loadSnapshotStatement, parameters, { prepare: true });
  return row ?? none;
}

/** Saves nothing if an event was redacted since the aggregate was loaded. */
async function saveSnapshot<State, Event extends DomainEvent>(
  { sql }: EventStore,
  { type, snapshots }: AggregateDefinition<State, Event>,
  id: string,
  { state, version, redactions }: Snapshot<State>,
): Promise<void> {
  const json = toJson(state, `the state of ${type} ${id}`, { mustRestore: true });
  try {
    await sql`
      select event_store.save_snapshot(${type}, ${aggregateIdOf(id)}, ${version}, ${snapshots?.stateVersion ?? 1},
        ${json}::text::jsonb, ${redactions})`;
  } catch (error) {
    throw explainError(error);
  }
}
