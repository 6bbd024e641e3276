import { once } from "node:events";
import { streamIdOf } from "../../../scripts/lib/event-store/stream-id.ts";
import { openConnection } from "../../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../../scripts/lib/postgres/driver.ts";
import type { BenchDatabase } from "../cluster.ts";
import type { SampleEvent, Stream } from "../events.ts";
import type { MeasuredStore } from "./store.ts";

/** A bound on the speed of any store: rows in a copy of our table and indexes, without functions or streams. */
export async function openInsert({ administrator }: BenchDatabase, maxConnections: number): Promise<MeasuredStore> {
  const connection = await openLimit(administrator, maxConnections);
  return {
    name: "limit, multi-row INSERT",
    append: (stream, events) => insertRows(connection.sql, stream, events),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

/** The same rows by COPY, which has less overhead. */
export async function openCopy({ administrator }: BenchDatabase, maxConnections: number): Promise<MeasuredStore> {
  const connection = await openLimit(administrator, maxConnections);
  return {
    name: "limit, COPY",
    append: (stream, events) => copyRows(connection.sql, stream, events),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

async function openLimit(administrator: BenchDatabase["administrator"], max: number) {
  const connection = openConnection(administrator, { max });
  await connection.sql.unsafe(`
    create schema bare;
    create table bare.domain_event (like event_store.domain_event including all)`);
  return connection;
}

const columns = "event_id, stream_id, aggregate_version, event_type, event_data, metadata";

async function insertRows(sql: Sql, stream: Stream, events: readonly SampleEvent[]): Promise<void> {
  const rows = events.map((_, index) => {
    const [id, streamId, version, type, data, metadata] = [1, 2, 3, 4, 5, 6].map((place) => `$${index * 6 + place}`);
    return `(${id}, ${streamId}, ${version}, ${type}, ${data}::text::jsonb, ${metadata}::text::jsonb)`;
  });
  await sql.unsafe(
    `insert into bare.domain_event (${columns}) values ${rows.join(", ")}`,
    events.flatMap((event, index) => values(stream, event, index)),
    { prepare: true },
  );
}

async function copyRows(sql: Sql, stream: Stream, events: readonly SampleEvent[]): Promise<void> {
  const lines = events.map((event, index) => values(stream, event, index).map(copyText).join("\t"));
  // A reserved connection: the server would read a pipelined statement as data of the COPY.
  const reserved = await sql.reserve();
  try {
    const input = await reserved.unsafe(`copy bare.domain_event (${columns}) from stdin`).writable();
    input.end(`${lines.join("\n")}\n`);
    await once(input, "finish");
  } finally {
    reserved.release();
  }
}

function copyText(value: string | number): string {
  return String(value).replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

function values(stream: Stream, event: SampleEvent, index: number): (string | number)[] {
  const { id, type, data, metadata } = event;
  return [id, streamIdOf(stream), stream.version + index + 1, type, JSON.stringify(data), JSON.stringify(metadata)];
}
