import type { Sql } from "../postgres/driver.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import type { RunContext } from "../stack/stack.ts";
import { connectToRestore } from "./lock.ts";

/** Which log was restored, and how much of it. */
export interface RestoredLog {
  /** Id of the archive. */
  readonly archive: string;
  /** The position up to which it lacks none of the events of the log that was archived. */
  readonly end: bigint;
}

/**
 * Begins a new epoch in a restored log: readers that keep their checkpoints elsewhere may have read beyond the archive.
 * Positions are left out later, by {@link skipDrawnPositions}.
 */
export async function beginRestoredEpoch(
  restored: ConnectionTarget,
  { archive, end }: RestoredLog,
  run: RunContext,
): Promise<void> {
  await using connection = connectToRestore(restored, run);
  const { sql } = connection;
  if (await hasEpochs(sql)) {
    await sql`select event_store.begin_epoch(${`restore of ${archive}`}, ${end}, false)`;
    return;
  }
  run.reporter.warn(
    `The schema of ${archive} is older than the epochs of the log: readers that have read beyond the archive will ` +
      "not be refused. Restore it with --migrate, or have such readers start over.",
  );
}

/**
 * Leaves out the positions that the replaced database has drawn, and some more, so that none of them is drawn again.
 *
 * @param replaced undefined if no database is replaced
 */
export async function skipDrawnPositions(
  restored: ConnectionTarget,
  replaced: ConnectionTarget | undefined,
  run: RunContext,
): Promise<void> {
  const drawn = replaced === undefined ? null : await readDrawnPosition(replaced, run);
  await using connection = connectToRestore(restored, run);
  const { sql } = connection;
  if (await hasEpochs(sql)) await sql`select event_store.skip_positions(${drawn})`;
  else await skipInOlderSchema(sql, drawn);
}

/** As `event_store.skip_positions`, in a schema that lacks it. */
async function skipInOlderSchema(sql: Sql, drawn: bigint | null): Promise<void> {
  await sql`
    select setval('event_store.domain_event_global_position', greatest(last_value, ${drawn}) + 1000000)
    from event_store.domain_event_global_position`;
}

async function readDrawnPosition(target: ConnectionTarget, run: RunContext): Promise<bigint | null> {
  await using connection = connectToRestore(target, run);
  const { sql } = connection;
  const [found] = await sql`select where to_regclass('event_store.domain_event_global_position') is not null`;
  if (found === undefined) return null;
  const [row] = await sql<
    { drawn: bigint }[]
  >`select last_value as drawn from event_store.domain_event_global_position`;
  return row?.drawn ?? null;
}

/** An archive may be older than the migration that creates them. */
async function hasEpochs(sql: Sql): Promise<boolean> {
  const [found] = await sql`select where to_regclass('event_store.log_epoch') is not null`;
  return found !== undefined;
}
