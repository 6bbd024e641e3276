import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { checkpointPlace, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { readLog } from "../../scripts/lib/event-store/read.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";

/** An event as a reader saw it. */
interface SeenEvent {
  readonly position: bigint;
  readonly streamId: string;
  readonly version: number;
}

/** A way to follow the log; it keeps its own checkpoint. */
export interface LogReader {
  /** @returns the next events; none if there is nothing new */
  read(sql: Sql): Promise<readonly SeenEvent[]>;
}

/** The reader's events, compared with what is stored in the end. */
export interface Verdict {
  readonly stored: number;
  readonly missed: number;
  readonly duplicates: number;
  readonly outOfStreamOrder: number;
}

/** How the writers work. */
export interface WriterOptions {
  readonly target: ConnectionTarget;
  readonly writers: number;
  /** How many events are stored before the writers stop. */
  readonly events: number;
}

const streamCount = 300;
const eventTypes = ["A", "B", "C", "D", "E"];

/**
 * Runs writers, whose transactions have several appends, pauses, savepoints and rollbacks, and readers that follow the
 * log until they reach its end.
 *
 * @returns a verdict for each reader, by name
 */
export async function followLog<Name extends string>(
  readers: Readonly<Record<Name, LogReader>>,
  options: WriterOptions,
): Promise<Record<Name, Verdict>> {
  let isWriting = true;
  const writing = write(options).finally(() => {
    isWriting = false;
  });
  const following = Object.entries<LogReader>(readers).map(async ([name, reader]) => {
    const seen: SeenEvent[] = [];
    await using connection = openConnection(options.target);
    for (;;) {
      const wasWriting = isWriting;
      const events = await reader.read(connection.sql);
      seen.push(...events);
      if (events.length > 0) continue;
      if (!wasWriting) return [name, seen] as const;
      // Without a pause, the readers would starve the writers.
      await sleep(10);
    }
  });
  const [, ...results] = await Promise.all([writing, ...following]);
  const stored = await readPositions(options.target);
  const verdicts = results.map(([name, seen]) => [name, judge(seen, stored)]);
  return Object.fromEntries(verdicts) as Record<Name, Verdict>;
}

async function readPositions(target: ConnectionTarget): Promise<Set<bigint>> {
  await using connection = openConnection(target);
  const rows = await connection.sql<{ position: bigint }[]>`
    select global_position as position from event_store.domain_event`;
  return new Set(rows.map(({ position }) => position));
}

function judge(seen: readonly SeenEvent[], stored: ReadonlySet<bigint>): Verdict {
  const positions = new Set(seen.map(({ position }) => position));
  const versions = new Map<string, number>();
  let outOfStreamOrder = 0;
  for (const { streamId, version } of seen) {
    if (version <= (versions.get(streamId) ?? 0)) outOfStreamOrder++;
    versions.set(streamId, version);
  }
  const missed = [...stored].filter((position) => !positions.has(position)).length;
  return { stored: stored.size, missed, duplicates: seen.length - positions.size, outOfStreamOrder };
}

async function write({ target, writers, events }: WriterOptions): Promise<void> {
  const streams = Array.from({ length: streamCount }, () => randomUUID());
  let stored = 0;
  const work = Array.from({ length: writers }, async () => {
    await using connection = openConnection(target);
    while (stored < events) stored += await writeOnce(connection.sql, streams);
  });
  await Promise.all(work);
}

class TakenBack extends Error {}

/** @returns how many events were committed */
async function writeOnce(sql: Sql, streams: readonly string[]): Promise<number> {
  let count = 0;
  try {
    await inTransaction(sql, async (tx) => {
      // In the order of their ids, or writers would deadlock.
      const chosen = Array.from({ length: 1 + random(4) }, () => streams[random(streamCount)] ?? "").toSorted();
      for (const id of chosen) {
        const size = 1 + random(8);
        const append = () => appendTo(tx, id, size);
        if (random(4) > 0) {
          await append();
          count += size;
        } else {
          count += await takenBackAtRandom(tx, append, size);
        }
        if (random(3) === 0) await sleep(random(8));
      }
      if (random(8) === 0) throw new TakenBack();
    });
    return count;
  } catch (error) {
    if (error instanceof TakenBack) return 0;
    throw error;
  }
}

async function takenBackAtRandom(tx: Sql, append: () => Promise<void>, size: number): Promise<number> {
  const isTakenBack = random(2) === 0;
  await tx`savepoint attempt`;
  await append();
  if (isTakenBack) await tx`rollback to savepoint attempt`;
  else await tx`release savepoint attempt`;
  return isTakenBack ? 0 : size;
}

async function appendTo(sql: Sql, id: string, size: number): Promise<void> {
  const events = Array.from({ length: size }, () => ({ event_type: eventTypes[random(5)], event_data: {} }));
  await sql`
    select from event_store.append(
      event_store.stream_id_of('Thing', ${id}), 'Thing', ${id}, null, ${JSON.stringify(events)}::text::jsonb)`;
}

function random(below: number): number {
  return Math.floor(Math.random() * below);
}

const pageSize = 200;

/** The reader of projections and subscriptions. */
export function completeReader(types?: readonly string[]): LogReader {
  let after = checkpointPlace(logStart);
  const filter = types === undefined ? {} : { eventTypes: types };
  return {
    async read(sql) {
      const page = await readLog(sql, { ...filter, after, isKeptOutside: true, maxCount: pageSize, upcasters: {} });
      after = page.place;
      return page.events.map((event) => ({ ...event, version: event.aggregateVersion }));
    },
  };
}

/** All types, by name. */
export const allTypes: readonly string[] = eventTypes;

/** Reads like an application in any language: `read_all` alone, from the last position it got. */
export function plainReader(): LogReader {
  let after = 0n;
  return {
    async read(sql) {
      const rows = await sql<SeenEvent[]>`
        select global_position as position, stream_id as "streamId", aggregate_version as version
        from event_store.read_all(${after}, ${pageSize})`;
      after = rows.at(-1)?.position ?? after;
      return rows;
    },
  };
}

/** Reads by a condition in one statement, from the last position it got. */
export function conditionReader(condition: string): LogReader {
  let after = 0n;
  return {
    async read(sql) {
      const rows = await sql.unsafe<SeenEvent[]>(
        `select global_position as position, stream_id as "streamId", aggregate_version as version
         from event_store.domain_event where global_position > $1 and ${condition} order by 1 limit ${pageSize}`,
        [`${after}`],
      );
      after = rows.at(-1)?.position ?? after;
      return rows;
    },
  };
}

/** Reads in the order of transactions, below the oldest one running in the whole cluster. */
export function transactionReader(): LogReader {
  let after = { transaction: "0", position: 0n };
  return {
    async read(sql) {
      const rows = await sql<(SeenEvent & { transaction: string })[]>`
        select xmin::text as transaction, global_position as position, stream_id as "streamId",
          aggregate_version as version
        from event_store.domain_event
        where (xmin::text::bigint, global_position) > (${after.transaction}::text::bigint, ${after.position})
          and xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        order by xmin::text::bigint, global_position limit ${pageSize}`;
      after = rows.at(-1) ?? after;
      return rows;
    },
  };
}
