import { getPostgreSQLEventStore } from "@event-driven-io/emmett-postgresql";
import pg from "pg";
import { connectionUrl } from "../../../scripts/lib/postgres/target.ts";
import type { BenchDatabase } from "../cluster.ts";
import type { SampleEvent } from "../events.ts";
import type { ReadableStore } from "./store.ts";

/** emmett's event store through its own API, with a pool of the driver it is built for. */
export async function openEmmett({ administrator }: BenchDatabase, maxConnections: number): Promise<ReadableStore> {
  const url = connectionUrl(administrator);
  const pool = new pg.Pool({ connectionString: url, max: maxConnections });
  const store = getPostgreSQLEventStore(url, { connectionOptions: { pool } });
  await store.schema.migrate();
  return {
    name: "emmett",
    async append(stream, events) {
      const options = { expectedStreamVersion: BigInt(stream.version) };
      await store.appendToStream(`${stream.type}-${stream.id}`, events.map(emmettEvent), options);
    },
    async readStream(stream) {
      return (await store.readStream(`${stream.type}-${stream.id}`)).events.length;
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await pool.end();
    },
  };
}

function emmettEvent({ type, data, metadata }: SampleEvent) {
  return { type, data, metadata };
}
