import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { assetsDir } from "../../../scripts/lib/paths.ts";
import { openConnection } from "../../../scripts/lib/postgres/connect.ts";
import type { BenchDatabase } from "../cluster.ts";
import type { SampleEvent } from "../events.ts";
import type { MeasuredStore } from "./store.ts";

/** The function and indexes that this project started from. It loses updates under concurrency. */
export async function openSeed({ administrator }: BenchDatabase, maxConnections: number): Promise<MeasuredStore> {
  const connection = openConnection(administrator, { max: maxConnections, searchPath: "event_store, public" });
  await connection.sql.unsafe(await readFile(join(assetsDir, "tests/support/fixtures/seed.sql"), "utf8"));
  return {
    name: "the seed's function",
    async append(stream, events) {
      const elements = events.map((event) => JSON.stringify(eventElement(event)).replace(/["\\]/g, "\\$&"));
      await connection.sql.unsafe(
        "select append_events($1, $2, $3, $4::text::jsonb[])",
        [stream.type, stream.id, stream.version, `{${elements.map((element) => `"${element}"`).join(",")}}`],
        { prepare: true },
      );
    },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

function eventElement({ type, data, metadata }: SampleEvent) {
  return { event_type: type, event_version: 1, event_data: data, metadata };
}
