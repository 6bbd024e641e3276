import { randomUUID } from "node:crypto";
import type { Statements } from "../../scripts/lib/postgres/driver.ts";

/** What to append; @default one event to a new order */
export interface Append {
  readonly type?: string;
  readonly id?: string;
  readonly expected?: number | null;
  readonly events?: readonly object[];
  /** The function to call; @default "event_store.append_events" */
  readonly by?: string;
}

/** An ordinary event. */
export const placed = { event_type: "OrderPlaced", event_version: 1, event_data: { total: 42 } };

/** Appends events and returns the stream's id. */
export async function append(sql: Statements, options: Append): Promise<string> {
  const { type = "Order", id = randomUUID(), expected = null, events = [placed], by } = options;
  const [row] = await sql<{ id: string }[]>`
    select ${sql.unsafe(by ?? "event_store.append_events")}(
      ${type}, ${id}, ${expected},
      array(select value from jsonb_array_elements(${JSON.stringify(events)}::text::jsonb) with ordinality order by ordinality)
    ) as id`;
  return row?.id ?? "";
}
