import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/driver.ts";

/** A logical replication slot. It belongs to one database, and is renamed and dropped with it. */
export interface Slot {
  readonly name: string;
  /** Whether a consumer is connected. */
  readonly isActive: boolean;
}

/** Lists the logical replication slots of a database. */
export async function readSlots(sql: Sql, database: string): Promise<Slot[]> {
  return sql<Slot[]>`
    select slot_name::text as name, active as "isActive" from pg_catalog.pg_replication_slots
    where database = ${database} order by 1`;
}

const stopOrKeep = "Stop these consumers, or restore without --drop-old, which keeps the database and its slots.";

/**
 * Checks that the slots of a database that is about to be dropped have no consumers.
 *
 * @param fix what the user can do
 * @throws {ScriptError} `SLOT_IN_USE` (exit 8)
 */
export function checkSlots(slots: readonly Slot[], fix: string = stopOrKeep): void {
  const used = slots.filter(({ isActive }) => isActive).map(({ name }) => name);
  if (used.length === 0) return;
  throw new ScriptError({
    code: "SLOT_IN_USE",
    exitCode: exitCodes.refused,
    message: "A replication slot of the database that would be dropped is in use; nothing was changed",
    why: `Slots with a connected consumer: ${used.join(", ")}.`,
    fix,
  });
}
