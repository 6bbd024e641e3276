import type { AppendResult } from "./append.ts";
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
    aggregate: { type: aggregate.type, id: aggregate.id.toLowerCase() },
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
      metadata: parsed(metadata ?? null) as EventMetadata | null,
      causationId: causationId?.toLowerCase() ?? null,
      correlationId: correlationId?.toLowerCase() ?? null,
    };
  });
}

/** For example, a date becomes text. */
function parsed(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
