/** A kind of event: its name and the shape of its data. */
export interface DomainEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly data: Data;
}

/** What may be said of an event beside what happened. */
export interface EventMetadata {
  readonly [key: string]: unknown;
}

/** An event to append. */
export type NewEvent<Event extends DomainEvent = DomainEvent> = Event & {
  /** UUID; a UUIDv7 is made when it is left out. Give one of your own to append only once across processes. */
  readonly id?: string;
  /** Version of the form of `data`; @default 1 */
  readonly version?: number;
  readonly metadata?: EventMetadata;
  /** Id of the command or event that caused this one. */
  readonly causationId?: string;
  /** Id that all events of one business transaction share. */
  readonly correlationId?: string;
};

/** The aggregate whose events form a stream. */
export interface Aggregate {
  /** Such as `Order`; 1 to 255 characters. */
  readonly type: string;
  /** UUID */
  readonly id: string;
}

/** An event as it is stored. */
export type RecordedEvent<Event extends DomainEvent = DomainEvent> = Event & {
  readonly id: string;
  /** Version of the form of `data`. */
  readonly version: number;
  readonly metadata: EventMetadata | null;
  readonly causationId: string | null;
  readonly correlationId: string | null;
  readonly streamId: string;
  readonly aggregate: Aggregate;
  /** Version of the aggregate after this event; the first one is 1. */
  readonly aggregateVersion: number;
  /** Place in the log of all streams: grows, with gaps. For showing and comparing on one server; readers go on from a `Checkpoint`. */
  readonly position: bigint;
  readonly occurredAt: Date;
};

/** What an append expects of its stream. */
export type ExpectedVersion = "any" | "no-stream" | "exists" | number;

declare const checkpointBrand: unique symbol;

/** How far a reader has come in the log: to be stored and given back, not to be looked into. */
export type Checkpoint = string & { readonly [checkpointBrand]: never };
