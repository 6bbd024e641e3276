import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { EventStore } from "../event-store/store.ts";
import { assetsDir } from "../paths.ts";
import { inTransaction } from "../postgres/transaction.ts";

/** What seeding did. */
export interface SeedResult {
  /** Number of aggregates in the demo data. */
  readonly streams: number;
  /** Number of events appended by this run; 0 if all existed. */
  readonly appended: number;
}

interface SeedRow {
  readonly first_version: number | null;
  readonly last_version: number | null;
  readonly deduplicated: boolean | null;
  readonly message: string | null;
}

/**
 * Appends the demo data of `sql/demo/orders.sql` in one statement. Idempotent: existing events are skipped.
 *
 * @throws {ScriptError} `SEED_CONFLICT` (exit 8) if a demo order has other events; nothing is appended then
 */
export async function seedDemo(store: EventStore): Promise<SeedResult> {
  const text = await readFile(join(assetsDir, "sql/demo/orders.sql"), "utf8");
  const rows = await inTransaction(store.sql, async (tx) => {
    const all = [...(await tx.unsafe<SeedRow[]>(text))];
    const refused = all.find(({ message }) => message !== null);
    if (refused !== undefined) throw seedConflict(refused.message ?? "");
    return all;
  });
  const isNew = (row: SeedRow) => row.deduplicated === false;
  const count = (row: SeedRow) => (row.last_version ?? 0) - (row.first_version ?? 0) + 1;
  const appended = rows.filter(isNew).reduce((sum, row) => sum + count(row), 0);
  return { streams: rows.length, appended };
}

function seedConflict(why: string): ScriptError {
  return new ScriptError({
    code: "SEED_CONFLICT",
    exitCode: exitCodes.refused,
    message: "The demo data conflicts with the events of an order; nothing was appended",
    why,
    fix: "Run seed on a database whose demo orders have no events of your own.",
  });
}
