import type { AppendResult } from "./append.ts";
import { checkAggregate, isUuid } from "./check-aggregate.ts";
import type { Aggregate, EventMetadata, NewEvent, RecordedEvent } from "./event.ts";

/** Where and when events were stored. */
export interface StoredPlace {
  readonly aggregate: Aggregate;
  readonly result: AppendResult;
  readonly occurredAt: Date;
}

/** @returns events that were appended, as reading them would return them before upcasting */
export function recordEvents(
  events: readonly NewEvent[],
  { aggregate, result, occurredAt }: StoredPlace,
): RecordedEvent[] {
  const stream = {
    streamId: result.streamId,
    aggregate: checkAggregate(aggregate),
    epochId: null,
    occurredAt,
  };
  return result.events.map((place, index) => {
    const { type, version = 1, data, metadata, causationId, correlationId } = events[index] as NewEvent;
    return {
      ...stream,
      ...place,
      type,
      version,
      data: parsed(data),
      metadata: withTextIds(parsed(metadata ?? null) as EventMetadata | null, { causationId, correlationId }),
      causationId: storedId(causationId),
      correlationId: storedId(correlationId),
    };
  });
}

type RelatedIds = { readonly [Key in "causationId" | "correlationId"]: string | undefined };

/** An id that is no UUID is kept in the metadata. */
function withTextIds(metadata: EventMetadata | null, ids: RelatedIds): EventMetadata | null {
  const kept = Object.entries(ids).filter(([, id]) => typeof id === "string" && !isUuid(id));
  if (kept.length === 0) return metadata;
  return { ...metadata, ...Object.fromEntries(kept.map(([key, id]) => [`$${key}`, id])) };
}

function storedId(id: string | undefined): string | null {
  return isUuid(id) ? id.toLowerCase() : (id ?? null);
}

/** For example, a date becomes text. */
function parsed(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
