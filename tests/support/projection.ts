import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { checkpointAfter } from "../../scripts/lib/event-store/checkpoint.ts";
import type { DomainEvent } from "../../scripts/lib/event-store/event.ts";
import type {
  ProjectionDefinition,
  ProjectionOutcome,
  ProjectOptions,
} from "../../scripts/lib/event-store/projection/definition.ts";
import { waitUntil } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import type { OrderEvent } from "./event-store.ts";

/** A projection that records the events it gets in order, without a constraint against repeated ones. */
export function journal(name: string, version = 1): ProjectionDefinition<OrderEvent> {
  const table = `journal_${name}`;
  return {
    name,
    version,
    events: ["OrderPlaced", "OrderPaid", "OrderShipped"],
    relations: {
      names: [table],
      create: (tx) => tx`
        create table ${tx(table)} (
          place bigint generated always as identity, stream_id uuid, aggregate_version integer, version integer
        )`,
    },
    handle: async (events, tx) => {
      const rows = events.map(({ streamId, aggregateVersion }) => ({ streamId, aggregateVersion }));
      await tx`
        insert into ${tx(table)} (stream_id, aggregate_version, version)
        select stream_id::uuid, aggregate_version, ${version}::integer
        from rows from (
          jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as ("streamId" text, "aggregateVersion" integer)
        ) with ordinality as given (stream_id, aggregate_version, place)
        order by place`;
    },
  };
}

/** @returns for each stream the versions in a journal, in the order in which they were committed */
export async function readJournal(store: EventStore, name: string): Promise<Map<string, number[]>> {
  const rows = await store.sql<{ streamId: string; version: number }[]>`
    select stream_id as "streamId", aggregate_version as version
    from read_model.${store.sql(`journal_${name}`)} order by place`;
  const seen = new Map<string, number[]>();
  for (const { streamId, version } of rows) seen.set(streamId, [...(seen.get(streamId) ?? []), version]);
  return seen;
}

/** Asserts that a journal has every stored event once, in the order of its stream. */
export async function checkJournal(store: EventStore, name: string): Promise<void> {
  const seen = await readJournal(store, name);
  const streams = await store.sql<{ streamId: string; version: number }[]>`
    select stream_id as "streamId", version from event_store.event_stream where version > 0`;
  assert.ok(streams.length > 0);
  for (const { streamId, version } of streams) {
    assert.deepEqual(
      seen.get(streamId),
      Array.from({ length: version }, (_, index) => index + 1),
      `${name}: stream ${streamId}`,
    );
  }
  assert.equal(seen.size, streams.length);
}

/** @returns the dead letters of a projection, in the order of their streams */
export async function readDeadLetters({ sql }: EventStore, name: string) {
  const rows = await sql<{ stream: string; event: number; attempts: number; error: string | null }[]>`
    select aggregate_id::text as stream, aggregate_version as event, attempts, error
    from read_model.dead_letter where name = ${name} order by stream_id, aggregate_version`;
  return [...rows];
}

/** A projection that is running. */
export interface BackgroundRun extends AsyncDisposable {
  /** Stops it. Rejects with the error it failed with. */
  stop(): Promise<ProjectionOutcome>;
  readonly ended: Promise<ProjectionOutcome>;
}

/** Starts a projection in this process. */
export function runInBackground<Event extends DomainEvent>(
  store: EventStore,
  options: ProjectOptions<Event>,
): BackgroundRun {
  const controller = new AbortController();
  const ended = project(store, { ...options, signal: controller.signal });
  ended.catch(() => undefined);
  const stop = () => {
    controller.abort();
    return ended;
  };
  return { stop, ended, [Symbol.asyncDispose]: async () => void (await stop().catch(() => undefined)) };
}

/** Waits until readers of a projection see the events up to a position, however long a busy machine takes. */
export function untilHandled(store: EventStore, name: string, position: bigint): Promise<void> {
  return waitUntil(store, name, checkpointAfter({ position }), { timeoutMs: patienceMs });
}

const patienceMs = 60_000;

/** Polls until a condition holds. */
export async function eventually(holds: () => Promise<boolean> | boolean): Promise<void> {
  const endsAt = Date.now() + patienceMs;
  while (!(await holds())) {
    if (Date.now() > endsAt) throw new Error("it did not come true within a minute");
    await sleep(5);
  }
}
