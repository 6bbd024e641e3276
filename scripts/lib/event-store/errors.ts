import { errorCode } from "../postgres/failure.ts";
import type { Aggregate, Checkpoint } from "./event.ts";
import { makeCheckpoint } from "./log-place.ts";

/** The details of an event-store error. */
export interface EventStoreErrorDetail {
  /** SQLSTATE of class UE, such as `UE001`, or of class 22; 42501 if the login lacks a privilege. */
  readonly code: string;
  readonly aggregate?: Aggregate | undefined;
  /** The expected version as SQL encodes it: -1 for a new stream, -4 for an existing one, null for any. */
  readonly expected?: number | null | undefined;
  /** The version of the stream; 0 if it does not exist. */
  readonly actual?: number | null | undefined;
}

/** Base class of event-store errors. Nothing was stored. */
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

/** The stream is not at the expected version. Load the aggregate again, then decide and append again. */
export class VersionConflict extends EventStoreError {
  override readonly name: string = "VersionConflict";
}

/** The stream exists, but a new one was expected. */
export class StreamExists extends VersionConflict {
  override readonly name = "StreamExists";
}

/** The stream does not exist, but an existing one was expected. */
export class StreamNotFound extends VersionConflict {
  override readonly name = "StreamNotFound";
}

/** An event id is taken, and the append is not a retry of the one that took it. */
export class DuplicateEvent extends EventStoreError {
  override readonly name = "DuplicateEvent";
}

/** The stream is archived: it can be read but not appended to. */
export class StreamArchived extends EventStoreError {
  override readonly name = "StreamArchived";
}

/** An argument cannot be stored or used. */
export class InvalidInput extends EventStoreError {
  override readonly name = "InvalidInput";

  constructor(message: string, detail: Partial<EventStoreErrorDetail> = {}) {
    super(message, { ...detail, code: detail.code ?? "UE007" });
  }
}

/** What a reader needs to recover after the log was rewound. */
export interface RewoundDetail {
  /** Position of the refused checkpoint. */
  readonly position: bigint;
  /** Epoch of the refused checkpoint; null if it is unknown. */
  readonly epochId: string | null;
  /** The current epoch of the log. */
  readonly currentEpochId: string;
  /** Position up to which the log is the one that the reader has read; null if it is unknown. */
  readonly branchPosition: bigint | null;
  /** The checkpoint at that position. */
  readonly branch: Checkpoint | null;
}

/**
 * The log is no longer the one in which the checkpoint was made: events that the reader may have handled are gone, for
 * example because an archive was restored. Discard what was derived from events after `branchPosition` and continue
 * from `branch`; if they are null, discard everything and start over.
 */
export class LogRewound extends EventStoreError implements RewoundDetail {
  override readonly name = "LogRewound";
  readonly position: bigint;
  readonly epochId: string | null;
  readonly currentEpochId: string;
  readonly branchPosition: bigint | null;
  readonly branch: Checkpoint | null;

  constructor(message: string, detail: RewoundDetail) {
    super(message, { code: "UE008" });
    this.position = detail.position;
    this.epochId = detail.epochId;
    this.currentEpochId = detail.currentEpochId;
    this.branchPosition = detail.branchPosition;
    this.branch = detail.branch;
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

/** Why the server refused an append; read from a row or an error. */
export interface Refusal {
  readonly sqlstate: string;
  readonly message: string;
  readonly detail: string | null | undefined;
}

/**
 * Creates an error of the class that matches a refusal.
 *
 * SQLSTATE class 22 also means invalid input: text that jsonb cannot store, or a number out of range.
 */
export function refusalError({ sqlstate, message, detail }: Refusal): EventStoreError {
  if (sqlstate === "UE008") return new LogRewound(message, parseRewound(detail ?? "{}"));
  if (sqlstate.startsWith("22")) return new InvalidInput(message, { code: sqlstate });
  const Class = classes[sqlstate] ?? EventStoreError;
  return new Class(message, { code: sqlstate, ...parseDetail(detail) });
}

/** @returns the event-store error for a refusal by the server; any other error unchanged */
export function explainError(error: unknown): unknown {
  const sqlstate = errorCode(error);
  if (error instanceof EventStoreError || !/^(UE\d{3}|22...)$/.test(sqlstate)) return error;
  const { message, detail } = error as { readonly message: string; readonly detail?: string };
  return refusalError({ sqlstate, message, detail });
}

function parseDetail(detail: string | null | undefined): Omit<EventStoreErrorDetail, "code"> {
  if (detail === null || detail === undefined || !detail.startsWith("{")) return {};
  const { expected, actual, aggregate_type, aggregate_id, aggregate_key } = JSON.parse(detail);
  return { expected, actual, aggregate: { type: aggregate_type, id: aggregate_key ?? aggregate_id } };
}

/** Positions have at most 15 digits, so JSON's numbers are exact. */
function parseRewound(detail: string): RewoundDetail {
  const { checkpoint, checkpoint_epoch, epoch, branch_position, branch_event } = JSON.parse(detail);
  const branchPosition = branch_position === null ? null : BigInt(branch_position);
  const branch =
    branchPosition === null
      ? null
      : makeCheckpoint({ position: branchPosition, eventId: branch_event, epochId: epoch });
  return { position: BigInt(checkpoint), epochId: checkpoint_epoch, currentEpochId: epoch, branchPosition, branch };
}
