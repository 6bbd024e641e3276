import { errorCode } from "../postgres/failure.ts";
import type { Aggregate } from "./event.ts";

/** What an error of the event store is about. */
export interface EventStoreErrorDetail {
  /** SQLSTATE of class UE, such as `UE001`. */
  readonly code: string;
  readonly aggregate?: Aggregate | undefined;
  /** The version that was expected, as the SQL functions take it; null for any. */
  readonly expected?: number | null | undefined;
  /** The version the stream is at; 0 when there is none. */
  readonly actual?: number | null | undefined;
}

/** An error that the event store answers with. After any of them nothing was stored. */
export class EventStoreError extends Error implements EventStoreErrorDetail {
  override readonly name: string = "EventStoreError";
  readonly code: string;
  readonly aggregate: Aggregate | undefined;
  readonly expected: number | null | undefined;
  readonly actual: number | null | undefined;

  constructor(message: string, detail: EventStoreErrorDetail) {
    super(message);
    this.code = detail.code;
    this.aggregate = detail.aggregate;
    this.expected = detail.expected;
    this.actual = detail.actual;
  }
}

/** The stream is at another version than expected: load the aggregate again, decide again, append again. */
export class VersionConflict extends EventStoreError {
  override readonly name: string = "VersionConflict";
}

/** The stream exists, where none was expected. */
export class StreamExists extends VersionConflict {
  override readonly name = "StreamExists";
}

/** The stream does not exist, where one was expected. */
export class StreamNotFound extends VersionConflict {
  override readonly name = "StreamNotFound";
}

/** An event id is taken, and the append is not a retry of the one that took it. */
export class DuplicateEvent extends EventStoreError {
  override readonly name = "DuplicateEvent";
}

/** The stream is archived: it can be read, but takes no new events. */
export class StreamArchived extends EventStoreError {
  override readonly name = "StreamArchived";
}

/** What was given can't be stored or used. */
export class InvalidInput extends EventStoreError {
  override readonly name = "InvalidInput";

  constructor(message: string, detail: Partial<EventStoreErrorDetail> = {}) {
    super(message, { ...detail, code: detail.code ?? "UE007" });
  }
}

const classes: Readonly<Record<string, new (message: string, detail: EventStoreErrorDetail) => EventStoreError>> = {
  UE001: VersionConflict,
  UE002: StreamExists,
  UE003: StreamNotFound,
  UE004: DuplicateEvent,
  UE005: StreamArchived,
  UE007: InvalidInput,
};

/** What the server said of one append, in a row or in an error. */
export interface Refusal {
  readonly sqlstate: string;
  readonly message: string;
  readonly detail: string | null | undefined;
}

/**
 * Makes an error of what the server said.
 *
 * A class 22 error is about the input too: text that jsonb can't hold, a number out of range.
 */
export function refusalError({ sqlstate, message, detail }: Refusal): EventStoreError {
  if (sqlstate.startsWith("22")) return new InvalidInput(message, { code: sqlstate });
  const Class = classes[sqlstate] ?? EventStoreError;
  return new Class(message, { code: sqlstate, ...parseDetail(detail) });
}

/** @returns an error of the event store in place of the driver's own, where the server refused what was asked */
export function explainError(error: unknown): unknown {
  const sqlstate = errorCode(error);
  if (error instanceof EventStoreError || !/^(UE\d{3}|22...)$/.test(sqlstate)) return error;
  const { message, detail } = error as { readonly message: string; readonly detail?: string };
  return refusalError({ sqlstate, message, detail });
}

function parseDetail(detail: string | null | undefined): Omit<EventStoreErrorDetail, "code"> {
  if (detail === null || detail === undefined || !detail.startsWith("{")) return {};
  const { expected, actual, aggregate_type, aggregate_id } = JSON.parse(detail);
  return { expected, actual, aggregate: { type: aggregate_type, id: aggregate_id } };
}
