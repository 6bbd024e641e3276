import { appendEvents } from "../../../scripts/lib/event-store/append.ts";
import { readStream } from "../../../scripts/lib/event-store/read.ts";
import { openEventStore } from "../../../scripts/lib/event-store/store.ts";
import { openConnection } from "../../../scripts/lib/postgres/connect.ts";
import type { BenchDatabase } from "../cluster.ts";
import type { SampleEvent } from "../events.ts";
import { pageSize, type ReadableStore } from "./store.ts";

/** This project's TypeScript: appends made while another is in flight are sent together. */
export function openOurs({ application }: BenchDatabase, maxConnections: number): ReadableStore {
  const store = openEventStore({ ...application, maxConnections });
  return {
    name: "ours, TypeScript",
    async append(stream, events) {
      await appendEvents(store, stream, events, { expectedVersion: stream.version });
    },
    async readStream(stream) {
      let count = 0;
      for await (const _event of readStream(store, stream, { pageSize })) count++;
      return count;
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** This project's SQL functions, called once per append or page, as from any language. */
export function openOursSql({ application }: BenchDatabase, maxConnections: number): ReadableStore {
  const connection = openConnection(application, { max: maxConnections });
  const { sql } = connection;
  return {
    name: "ours, SQL",
    async append(stream, events) {
      await sql.unsafe(
        "select * from event_store.append(event_store.stream_id_of($1, $2), $1, $2, $3, $4::text::jsonb)",
        [stream.type, stream.id, stream.version, JSON.stringify(events.map(eventElement))],
        { prepare: true },
      );
    },
    async readStream(stream) {
      const statement = "select * from event_store.read_stream($1, $2, 0, $3)";
      return (await sql.unsafe(statement, [stream.type, stream.id, pageSize], { prepare: true })).length;
    },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

function eventElement({ id, type, data, metadata }: SampleEvent) {
  return { event_id: id, event_type: type, event_data: data, metadata };
}
