import type { Statements } from "../postgres/driver.ts";

/** A kind of event: its name and the shape of its data, which is `{}` if there is none. */
export interface DomainEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly data: Data;
}

/** The context of an event, such as the user who caused it. */
export interface EventMetadata {
  readonly [key: string]: unknown;
}

/** An event to append. */
export type NewEvent<Event extends DomainEvent = DomainEvent> = Event & {
  /** UUID; @default a new UUIDv7. Pass your own to make the append idempotent across processes. */
  readonly id?: string;
  /** Version of the schema of `data`; @default 1 */
  readonly version?: number;
  readonly metadata?: EventMetadata;
  /** Id of the command or event that caused this one: a UUID, or text, which is kept in the metadata. */
  readonly causationId?: string;
  /** Id shared by all events of one business transaction: a UUID, or text, which is kept in the metadata. */
  readonly correlationId?: string;
};

/** The aggregate whose events form a stream. */
export interface Aggregate {
  /** For example `Order`; 1 to 255 characters. */
  readonly type: string;
  /** A UUID, or other text of 1 to 1,024 bytes in UTF-8, such as `cart-123`. */
  readonly id: string;
}

/** An event as it is stored. */
export type RecordedEvent<Event extends DomainEvent = DomainEvent> = Event & {
  readonly id: string;
  /** Version of the schema of `data`. */
  readonly version: number;
  readonly metadata: EventMetadata | null;
  readonly causationId: string | null;
  readonly correlationId: string | null;
  readonly streamId: string;
  readonly aggregate: Aggregate;
  /** Version of the aggregate after this event; the first one is 1. */
  readonly aggregateVersion: number;
  /**
   * Position in the log of all streams; increases, with gaps. Use it for display, or to compare events of one server.
   * To resume reading, use a `Checkpoint`.
   */
  readonly position: bigint;
  /** Epoch of the log in which the event was read; null if it was read from its stream. */
  readonly epochId: string | null;
  readonly occurredAt: Date;
  /**
   * Only if upcasters have split an event that was read from the log, and this is not its last part: the place before
   * the event, so that a reader that resumes there gets all of its parts.
   */
  readonly resumeFrom?: Checkpoint;
};

/** The version that an append expects its stream to have: an exact number (0 for a new stream), or a condition. */
export type ExpectedVersion = "any" | "no-stream" | "exists" | number | bigint;

/** What `store.transaction()` and `sql.begin()` pass to their callbacks: calls that take it run in that transaction. */
export type CallerTransaction = Pick<Statements, "unsafe">;

declare const checkpointBrand: unique symbol;

/** A reader's place in the log. Opaque: store it and pass it back. */
export type Checkpoint = string & { readonly [checkpointBrand]: never };
