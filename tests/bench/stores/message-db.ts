import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { assetsDir } from "../../../scripts/lib/paths.ts";
import { openConnection } from "../../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../../scripts/lib/postgres/transaction.ts";
import type { BenchDatabase } from "../cluster.ts";
import type { SampleEvent, Stream } from "../events.ts";
import { pageSize, type ReadableStore } from "./store.ts";

/** message-db's functions. It has none for several messages, so a batch is a transaction. */
export async function openMessageDb({ administrator }: BenchDatabase, maxConnections: number): Promise<ReadableStore> {
  await installMessageDb(administrator);
  const connection = openConnection(administrator, { max: maxConnections, searchPath: "message_store, public" });
  const { sql } = connection;
  return {
    name: "message-db",
    async append(stream, events) {
      const [first] = events;
      if (events.length === 1 && first !== undefined) return await writeMessage(sql, stream, first, stream.version - 1);
      await inTransaction(sql, async (tx) => {
        await Promise.all(events.map((event, index) => writeMessage(tx, stream, event, stream.version + index - 1)));
      });
    },
    readStream: (stream) => readMessages(sql, stream),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

async function writeMessage(sql: Sql, stream: Stream, event: SampleEvent, expected: number): Promise<void> {
  const name = `${stream.type}-${stream.id}`;
  await sql.unsafe(
    "select message_store.write_message($1, $2, $3, $4::text::jsonb, $5::text::jsonb, $6)",
    [event.id, name, event.type, JSON.stringify(event.data), JSON.stringify(event.metadata), expected],
    { prepare: true },
  );
}

/** Its functions return JSON as text, which clients parse. */
async function readMessages(sql: Sql, stream: Stream): Promise<number> {
  const rows = await sql.unsafe<{ data: string; metadata: string }[]>(
    "select * from message_store.get_stream_messages($1, 0, $2)",
    [`${stream.type}-${stream.id}`, pageSize],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, data: JSON.parse(row.data), metadata: JSON.parse(row.metadata) })).length;
}

/** The files in the order of its install.sh, without views and privileges. */
const installFiles = [
  "roles/message-store",
  "schema/message-store",
  "extensions/pgcrypto",
  "tables/messages",
  "types/message",
  "functions/message-store-version",
  "functions/hash-64",
  "functions/acquire-lock",
  "functions/category",
  "functions/is-category",
  "functions/id",
  "functions/cardinal-id",
  "functions/stream-version",
  "functions/write-message",
  "functions/get-stream-messages",
  "functions/get-category-messages",
  "functions/get-last-stream-message",
  "indexes/messages-id",
  "indexes/messages-stream",
  "indexes/messages-category",
];

async function installMessageDb(administrator: BenchDatabase["administrator"]): Promise<void> {
  const folder = join(assetsDir, "node_modules/@eventide/message-db/database");
  await using connection = openConnection(administrator, { searchPath: "message_store, public" });
  for (const file of installFiles) await connection.sql.unsafe(await readFile(join(folder, `${file}.sql`), "utf8"));
}
