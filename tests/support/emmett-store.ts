// emmett's EventStore interface on top of the public API: text stream names, no tables of its own.
import {
  type AggregateStreamOptions,
  type AppendToStreamOptions,
  type AppendToStreamResultWithGlobalPosition,
  assertExpectedVersionMatchesCurrent,
  downcastRecordedMessage,
  type EventStore as EmmettStore,
  type ExpectedStreamVersion as EmmettVersion,
  type Event,
  type EventStoreSession,
  type EventStoreSessionFactory,
  ExpectedVersionConflictError,
  type ReadEvent,
  type ReadEventMetadataWithGlobalPosition,
  type ReadStreamOptions,
  type ReadStreamResult,
  upcastRecordedMessage,
} from "@event-driven-io/emmett";
import {
  type Aggregate,
  appendEvents,
  type DomainEvent,
  type EventStore,
  type ExpectedVersion,
  type NewEvent,
  type RecordedEvent,
  readStream,
  streamInfo,
  type Transaction,
  VersionConflict,
} from "../../scripts/lib/index.ts";

type Metadata = ReadEventMetadataWithGlobalPosition;

/** An event store with the interface of emmett's own ones. */
export interface Store extends EmmettStore<Metadata>, EventStoreSessionFactory<Store> {
  appendToStream<EventType extends Event, Stored extends Event = EventType>(
    streamName: string,
    events: EventType[],
    options?: AppendToStreamOptions<bigint, EventType, Stored>,
  ): Promise<AppendToStreamResultWithGlobalPosition>;
}

/** @param transaction reads and appends in this transaction */
export function emmettStore(store: EventStore, transaction?: Transaction): Store {
  const within = transaction === undefined ? {} : { transaction };

  async function version(streamName: string): Promise<bigint> {
    return BigInt((await streamInfo(store, aggregateOf(streamName), within))?.version ?? 0);
  }

  const self: Store = {
    async readStream<EventType extends Event, Stored extends Event = EventType>(
      streamName: string,
      options: ReadStreamOptions<bigint, EventType, Stored> = {},
    ): Promise<ReadStreamResult<EventType, Metadata>> {
      const { from, to, maxCount, expectedStreamVersion } = options;
      const events = await Array.fromAsync(
        readStream(store, aggregateOf(streamName), {
          ...within,
          ...(from ? { afterVersion: from - 1n } : {}),
          ...(to === undefined ? {} : { upToVersion: to }),
          ...(maxCount ? { maxCount: Number(maxCount) } : {}),
        }),
      );
      const isPart = from !== undefined || to !== undefined || maxCount !== undefined;
      const currentStreamVersion = isPart ? await version(streamName) : BigInt(events.at(-1)?.aggregateVersion ?? 0);
      assertExpectedVersionMatchesCurrent(currentStreamVersion, expectedStreamVersion, 0n);
      const upcast = options.schema?.versioning;
      return {
        currentStreamVersion,
        events: events.map((event) => upcastRecordedMessage(toEmmett<Stored>(streamName, event), upcast)) as ReadEvent<
          EventType,
          Metadata
        >[],
        streamExists: currentStreamVersion > 0n,
      };
    },

    async aggregateStream<State, EventType extends Event, Stored extends Event = EventType>(
      streamName: string,
      { evolve, initialState, read }: AggregateStreamOptions<State, EventType, Metadata, Stored>,
    ) {
      const { events, ...stream } = await self.readStream<EventType, Stored>(streamName, read);
      const fold = evolve as (state: State, event: ReadEvent<EventType, Metadata>) => State;
      return { ...stream, state: events.reduce(fold, initialState()) };
    },

    async appendToStream<EventType extends Event, Stored extends Event = EventType>(
      streamName: string,
      events: EventType[],
      { expectedStreamVersion, schema }: AppendToStreamOptions<bigint, EventType, Stored> = {},
    ) {
      const stored = events.map((event) => downcastRecordedMessage(event, schema?.versioning));
      const options = { ...within, expectedVersion: expectedVersionOf(expectedStreamVersion) };
      try {
        const appended = await appendEvents(store, aggregateOf(streamName), stored.map(fromEmmett), options);
        return {
          nextExpectedStreamVersion: BigInt(appended.lastVersion),
          createdNewStream: appended.firstVersion === 1,
          lastEventGlobalPosition: appended.lastPosition,
        };
      } catch (error) {
        if (!(error instanceof VersionConflict)) throw error;
        throw new ExpectedVersionConflictError(BigInt(error.actual ?? 0), expectedStreamVersion as bigint);
      }
    },

    streamExists: async (streamName) => (await version(streamName)) > 0n,

    withSession: <Result>(callback: (session: EventStoreSession<Store>) => Promise<Result>) =>
      store.transaction((tx) => callback({ eventStore: emmettStore(store, tx), close: async () => undefined })),
  };
  return self;
}

/** The name of a stream is its category, a separator, and what tells it from others. */
function aggregateOf(streamName: string): Aggregate {
  return { type: /^[^:-]+/.exec(streamName)?.[0] ?? "Stream", id: streamName };
}

function expectedVersionOf(expected: EmmettVersion | undefined): ExpectedVersion {
  if (expected === undefined || expected === "NO_CONCURRENCY_CHECK") return "any";
  if (expected === "STREAM_EXISTS") return "exists";
  return expected === "STREAM_DOES_NOT_EXIST" ? "no-stream" : (expected as bigint);
}

function fromEmmett(event: Event): NewEvent {
  const { type, data, metadata } = event as { type: string; data: unknown; metadata?: Record<string, unknown> };
  return { type, data, ...(metadata === undefined ? {} : { metadata }) };
}

function toEmmett<Stored extends Event>(streamName: string, event: RecordedEvent<DomainEvent>) {
  const place = { streamName, messageId: event.id, streamPosition: BigInt(event.aggregateVersion) };
  const metadata = { ...event.metadata, ...place, globalPosition: event.position };
  return { kind: "Event", type: event.type, data: event.data, metadata } as unknown as ReadEvent<Stored, Metadata>;
}
