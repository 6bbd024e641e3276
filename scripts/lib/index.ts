// "cqrs-postgres": the event store. It depends on neither the command line nor the configuration.
export {
  type AggregateDefinition,
  type Decide,
  type DecideOptions,
  type Decision,
  decide,
  type LoadedAggregate,
  type LoadOptions,
  loadAggregate,
  type SnapshotOptions,
} from "./event-store/aggregate.ts";
export { type AppendedEvent, type AppendOptions, type AppendResult, appendEvents } from "./event-store/append.ts";
export { checkpointAfter, logEnd, logStart } from "./event-store/checkpoint.ts";
export {
  DuplicateEvent,
  EventStoreError,
  type EventStoreErrorDetail,
  InvalidInput,
  LogRewound,
  type RewoundDetail,
  StreamArchived,
  StreamExists,
  StreamNotFound,
  VersionConflict,
} from "./event-store/errors.ts";
export type * from "./event-store/event.ts";
export type { LogDetails, Logger } from "./event-store/logger.ts";
export { type ReplayResult, replayDeadLetters } from "./event-store/projection/dead-letters.ts";
export type {
  ProjectionDefinition,
  ProjectionOutcome,
  ProjectionRelations,
  ProjectionStatus,
  ProjectionTransaction,
  ProjectOptions,
} from "./event-store/projection/definition.ts";
export {
  type HorizonHolder,
  ProjectionBehind,
  type ProjectionLag,
  readProjectionLag,
  type WaitUntilOptions,
  waitUntil,
} from "./event-store/projection/progress.ts";
export { project } from "./event-store/projection/project.ts";
export { type ReadAllOptions, type ReadStreamOptions, readAll, readStream } from "./event-store/read.ts";
export type { LogFilter } from "./event-store/read-log.ts";
export { type EventStore, type EventStoreOptions, openEventStore } from "./event-store/store.ts";
export { aggregateIdOf, streamIdOf } from "./event-store/stream-id.ts";
export {
  type ArchiveOptions,
  archiveStream,
  type RedactOptions,
  redactEvent,
  reopenStream,
  type StreamInfo,
  type StreamOptions,
  streamInfo,
} from "./event-store/streams.ts";
export { type EventBatch, type SubscribeOptions, subscribe } from "./event-store/subscribe.ts";
export type { Sql, Transaction } from "./event-store/transaction.ts";
export type { Rewrite, RewrittenEvent, Upcaster, Upcasters } from "./event-store/upcast.ts";
