import { setTimeout as sleep } from "node:timers/promises";
import { checkpointPlace, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { readLog } from "../../scripts/lib/event-store/read-log.ts";
import { keepStored } from "../../scripts/lib/event-store/upcast.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { makeOutcomes, type WriterOptions, write } from "./log-writers.ts";

/** An event as a reader saw it. */
export interface SeenEvent {
  readonly id: string;
  readonly type: string;
  readonly position: bigint;
  readonly streamId: string;
  readonly version: number;
}

/** A way to follow the log; it keeps its own checkpoint. */
export interface LogReader {
  /** @returns the next events; none if there is nothing new */
  read(sql: Sql): Promise<readonly SeenEvent[]>;
}

/** An event as it is stored in the end. */
export type StoredEvent = Pick<SeenEvent, "id" | "type">;

/** The reader's events, compared with what is stored in the end. */
export interface Verdict {
  readonly stored: number;
  readonly missed: number;
  readonly duplicates: number;
  readonly outOfStreamOrder: number;
  /** Events that the reader has seen and that are not stored. */
  readonly vanished: number;
}

/** How to write while readers follow the log. */
export interface FollowOptions extends Pick<WriterOptions, "target" | "writers"> {
  /** How many events are stored before the writers stop. */
  readonly events: number;
}

/**
 * Runs writers, and readers that follow the log until they reach its end.
 *
 * @returns a verdict for each reader, by name
 */
export async function followLog<Name extends string>(
  readers: Readonly<Record<Name, LogReader>>,
  { target, writers, events }: FollowOptions,
): Promise<Record<Name, Verdict>> {
  const outcomes = makeOutcomes();
  let isWriting = true;
  const isDone = () => outcomes.acknowledged.size >= events;
  const writing = write({ target, writers, outcomes, isDone }).finally(() => {
    isWriting = false;
  });
  const following = Object.entries<LogReader>(readers).map(async ([name, reader]) => {
    const seen: SeenEvent[] = [];
    await using connection = openConnection(target);
    for (;;) {
      const wasWriting = isWriting;
      const found = await reader.read(connection.sql);
      seen.push(...found);
      if (found.length > 0) continue;
      if (!wasWriting) return [name, seen] as const;
      // Without a pause, the readers would starve the writers.
      await sleep(10);
    }
  });
  const [, ...results] = await Promise.all([writing, ...following]);
  const stored = await readStored(target);
  const verdicts = results.map(([name, seen]) => [name, judge(seen, stored)]);
  return Object.fromEntries(verdicts) as Record<Name, Verdict>;
}

/** Reads what is stored, in the order of positions. */
export async function readStored(target: ConnectionTarget): Promise<StoredEvent[]> {
  await using connection = openConnection(target);
  return await connection.sql<StoredEvent[]>`
    select event_id as id, event_type as type from event_store.domain_event order by global_position`;
}

/** Compares by ids: after a crash, another event may be at the position of a lost one. */
export function judge(seen: readonly SeenEvent[], stored: readonly StoredEvent[]): Verdict {
  const seenIds = new Set(seen.map(({ id }) => id));
  const storedIds = new Set(stored.map(({ id }) => id));
  const versions = new Map<string, number>();
  let outOfStreamOrder = 0;
  for (const { streamId, version } of seen) {
    if (version <= (versions.get(streamId) ?? 0)) outOfStreamOrder++;
    versions.set(streamId, version);
  }
  return {
    stored: stored.length,
    missed: storedIds.difference(seenIds).size,
    duplicates: seen.length - seenIds.size,
    outOfStreamOrder,
    vanished: seenIds.difference(storedIds).size,
  };
}

const pageSize = 200;

/** The columns of a `SeenEvent`. */
export const seenColumns =
  'event_id as id, event_type as type, global_position as position, stream_id as "streamId", aggregate_version as version';

/** The reader of projections and subscriptions. */
export function completeReader(types?: readonly string[]): LogReader {
  let after = checkpointPlace(logStart);
  const filter = types === undefined ? {} : { eventTypes: types };
  return {
    async read(sql) {
      const page = await readLog(sql, {
        ...filter,
        after,
        isKeptOutside: true,
        maxCount: pageSize,
        upcasters: keepStored,
      });
      after = page.place;
      return page.events.map((event) => ({ ...event, version: event.aggregateVersion }));
    },
  };
}

/** Reads like an application in any language: `read_all` alone, from the last position it got. */
export function plainReader(): LogReader {
  let after = 0n;
  return {
    async read(sql) {
      const rows = await sql<SeenEvent[]>`
        select ${sql.unsafe(seenColumns)}
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
        `select ${seenColumns} from event_store.domain_event where global_position > $1 and ${condition} order by 1 limit ${pageSize}`,
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
        select xmin::text as transaction, ${sql.unsafe(seenColumns)}
        from event_store.domain_event
        where (xmin::text::bigint, global_position) > (${after.transaction}::text::bigint, ${after.position})
          and xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        order by xmin::text::bigint, global_position limit ${pageSize}`;
      after = rows.at(-1) ?? after;
      return rows;
    },
  };
}
