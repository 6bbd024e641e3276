import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { placed } from "./append.ts";

/** The arguments of an append; `events` is JSON as a client would write it. */
export interface Given {
  readonly type: string | null;
  readonly id: string | null;
  readonly expected: number | null;
  readonly events: string | null;
}

/** A row of `append_batch`, with the columns that tests read. */
export interface Answer {
  readonly sqlstate: string | null;
  readonly message: string | null;
  readonly first_version: number | null;
}

/** An error of the server, with the properties that tests read. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly detail: string;
}

/** The arguments that append one event to a new order, with some changes. */
export function given(changes: Partial<Given> = {}): Given {
  return { type: "Order", id: randomUUID(), expected: 0, events: JSON.stringify([placed]), ...changes };
}

/** Two events, the second with some changes. */
export function secondEvent(changes: object): Partial<Given> {
  return { events: JSON.stringify([placed, { ...placed, ...changes }]) };
}

/** Calls `append`. */
export async function append(sql: Sql, { type, id, expected, events }: Given): Promise<void> {
  await sql`
    select * from event_store.append(
      event_store.stream_id_of(${type}, ${id}), ${type}, ${id}, ${expected}, ${events}::text::jsonb)`;
}

/** Calls `append_batch`. */
export async function appendBatch(sql: Sql, appends: readonly string[]): Promise<Answer[]> {
  return await sql<Answer[]>`select * from event_store.append_batch(${`[${appends.join()}]`}::text::jsonb)`;
}

/** @returns an element of a batch, as JSON */
export function element({ type, id, expected, events }: Given): string {
  const head = JSON.stringify({ aggregate_type: type, aggregate_id: id, expected_version: expected });
  return `${head.slice(0, -1)},"events":${events}}`;
}

/** @returns the error that the work fails with */
export async function refusal(work: PromiseLike<unknown>): Promise<Refusal> {
  try {
    await work;
  } catch (error) {
    return error as Refusal;
  }
  return assert.fail("it was not refused");
}

/** Counts all events of a database. */
export async function countEvents(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::int as count from event_store.domain_event`;
  return row?.count ?? -1;
}
