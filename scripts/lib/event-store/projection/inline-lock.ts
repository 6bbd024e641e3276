import type { Sql } from "../../postgres/driver.ts";

/** The owner of a version that open event stores handle in the transactions of their appends. */
export const inlineOwner = "inline";

/** The first half of the advisory locks, as it is shown in pg_locks: "inln" in ASCII. */
const lockClass = 0x69_6e_6c_6e;

/**
 * Waits for the inline appends of a projection in flight, and keeps others from starting, until the transaction ends.
 * It is held to make a version inline, and to end that.
 */
export async function lockInline(tx: Sql, name: string): Promise<void> {
  await tx`select pg_catalog.pg_advisory_xact_lock(${lockClass}, pg_catalog.hashtext(${name}))`;
}

/** Ensures that projections that run inline continue to do so until the transaction ends. */
export async function shareInline(tx: Sql, names: readonly string[]): Promise<void> {
  await tx`
    select pg_catalog.pg_advisory_xact_lock_shared(${lockClass}, pg_catalog.hashtext(name))
    from pg_catalog.jsonb_array_elements_text(${JSON.stringify(names)}::text::jsonb) as given (name)`;
}

/**
 * @returns the checkpoint of a row of `read_model.projection`, as an expression: up to there, the version has handled its
 * events, inline or not
 */
export function inlineCheckpoint(tx: Sql) {
  return tx`
    greatest(
      checkpoint,
      (
        select max(position) from read_model.inline_position as inline
        where inline.name = projection.name and inline.version = projection.version
      )
    )`;
}
