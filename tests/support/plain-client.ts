import { randomUUID } from "node:crypto";
import pg from "pg";
import type { TestDatabase } from "./database.ts";

/** An event of an order, as plain SQL takes it. */
export interface PlainEvent {
  readonly event_id?: string;
  readonly event_type: string;
  readonly event_data: object;
}

/** What `event_store.append` answers; node-postgres gives a bigint as text. */
export interface PlainResult {
  readonly stream_id: string;
  readonly first_version: number;
  readonly last_version: number;
  readonly last_position: string;
  readonly deduplicated: boolean;
}

/** Whatever node-postgres runs a statement with. */
export type PlainClient = Pick<pg.ClientBase, "query">;

/** A pool as an application makes it that knows nothing of this project: the driver's defaults. */
export function openPlainPool(database: TestDatabase, options: pg.PoolConfig = {}): pg.Pool {
  const { host, port, user, password, database: name } = database.application;
  const pool = new pg.Pool({ host, port, user, password, database: name as string, ...options });
  // A connection that is still closing when the database is dropped has nobody else to tell.
  pool.on("error", () => {});
  pool.on("connect", (client) => void client.on("error", () => {}));
  return pool;
}

/** The statement that the README gives for appending. */
export const appendStatement =
  "select * from event_store.append(event_store.stream_id_of($1, $2), $1, $2, $3, $4::jsonb)";

/** Appends by the README's statement. */
export async function plainAppend(
  client: PlainClient,
  id: string,
  expected: number | null,
  events: readonly PlainEvent[] = [plainEvent()],
): Promise<PlainResult> {
  const { rows } = await client.query<PlainResult>(appendStatement, ["Order", id, expected, JSON.stringify(events)]);
  return rows[0] as PlainResult;
}

/** @returns an event that can be retried, since it has an id */
export function plainEvent(total = 42): PlainEvent {
  return { event_id: randomUUID(), event_type: "OrderPlaced", event_data: { total } };
}

/** What a program learns from an error: the code, and the detail where that is JSON. */
export interface PlainProblem {
  readonly code: string;
  readonly detail: Readonly<Record<string, unknown>> | undefined;
}

/** Waits for a statement to fail, and reads the error by the README's table. */
export async function problemOf(work: Promise<unknown>): Promise<PlainProblem> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof pg.DatabaseError)) throw error ?? new Error("the statement did not fail");
  return {
    code: error.code ?? "",
    detail: error.code?.startsWith("UE") && error.detail?.startsWith("{") ? JSON.parse(error.detail) : undefined,
  };
}
