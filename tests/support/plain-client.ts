import { randomUUID } from "node:crypto";
import pg from "pg";
import type { TestDatabase } from "./database.ts";

/** An event of an order, as plain SQL takes it. */
export interface PlainEvent {
  readonly event_id?: string;
  readonly event_type: string;
  readonly event_data: object;
}

/** A row of `event_store.append`; node-postgres returns a bigint as text. */
export interface PlainResult {
  readonly stream_id: string;
  readonly first_version: number;
  readonly last_version: number;
  readonly last_position: string;
  readonly deduplicated: boolean;
}

/** A pool or a client of node-postgres. */
export type PlainClient = Pick<pg.ClientBase, "query">;

/** A pool with the driver's defaults, like that of an application that does not use this project's code. */
export function openPlainPool(database: TestDatabase, options: pg.PoolConfig = {}): pg.Pool {
  const { host, port, user, password, database: name } = database.application;
  const pool = new pg.Pool({ host, port, user, password, database: name as string, ...options });
  // Without a listener, an error of a connection that closes while the database is dropped would be thrown.
  pool.on("error", () => {});
  pool.on("connect", (client) => void client.on("error", () => {}));
  return pool;
}

/** The statement for appending in sql/README.md. */
export const appendStatement =
  "select * from event_store.append(event_store.stream_id_of($1, $2), $1, $2, $3, $4::jsonb)";

/** Appends with the statement of sql/README.md. */
export async function plainAppend(
  client: PlainClient,
  id: string,
  expected: number | null,
  events: readonly PlainEvent[] = [plainEvent()],
): Promise<PlainResult> {
  const { rows } = await client.query<PlainResult>(appendStatement, ["Order", id, expected, JSON.stringify(events)]);
  return rows[0] as PlainResult;
}

/** @returns an event with an id, so that its append can be retried */
export function plainEvent(total = 42): PlainEvent {
  return { event_id: randomUUID(), event_type: "OrderPlaced", event_data: { total } };
}

/** What a program can read from an error: the code, and the detail if it is JSON. */
export interface PlainProblem {
  readonly code: string;
  readonly detail: Readonly<Record<string, unknown>> | undefined;
}

/** @returns the problem that a statement fails with */
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
