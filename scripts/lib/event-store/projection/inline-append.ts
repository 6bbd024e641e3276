import type { Sql } from "../../postgres/driver.ts";
import { type AppendRow, type PreparedAppend, readResult, sendBatch } from "../append.ts";
import { isUuid } from "../check-aggregate.ts";
import { explainError, InvalidInput } from "../errors.ts";
import type { RecordedEvent } from "../event.ts";
import { recordEvents } from "../record-events.ts";
import { storedTypes } from "../upcast.ts";
import type { ItemOutcome } from "../work-queue.ts";
import { runCode, transactionEnded } from "./attempt.ts";
import { type ProjectionRun, type ProjectionTransaction, servingPath } from "./definition.ts";
import { inlineOwner, shareInline } from "./inline-lock.ts";
import { upcastCopies } from "./upcast-copies.ts";

type Outcomes = readonly ItemOutcome<AppendRow>[];

/** Appends, and the projections that handle their events. */
export interface InlineBatch {
  readonly runs: readonly ProjectionRun[];
  readonly appends: readonly PreparedAppend[];
  /** Receives the projections that are no longer inline; the transaction must then be rolled back. */
  readonly left: ProjectionRun[];
  /** How long the transaction may be idle; undefined to leave that to the caller. */
  readonly idleMs: number | undefined;
}

/** Whether a projection handles an event of an append, or what upcasters make of it. */
export function handlesAny(run: ProjectionRun, { events }: PreparedAppend): boolean {
  return events.some((event) => handles(run, event));
}

function handles({ events, store }: ProjectionRun, { type }: { readonly type: string }): boolean {
  return storedTypes(store.upcasters, events)?.includes(type) ?? true;
}

/**
 * Appends, and passes the stored events to the projections, in one transaction. A duplicate is not handled again.
 *
 * The lock comes first: nobody can end that a projection is inline between the check and the commit.
 *
 * @throws what a projection throws; then the transaction must be rolled back
 */
export async function appendAndHandle(tx: ProjectionTransaction, batch: InlineBatch): Promise<Outcomes> {
  const { runs, appends, idleMs } = batch;
  // Sent together, in one round trip.
  const [, outcomes, settings] = await Promise.all([
    shareInline(
      tx,
      runs.map(({ name }) => name),
    ),
    sendBatch(tx, appends, true).catch(explain),
    readSettings(tx, runs, appends),
    enterReadModel(tx, idleMs),
  ]);
  checkInline(batch, settings);
  const keys = JSON.parse(settings.keys) as Keys;
  for (const run of runs) await handleStored(tx, run, recordStored(appends, outcomes, keys));
  await leaveReadModel(tx, runs, settings);
  return outcomes;
}

function explain(error: unknown): never {
  throw explainError(error);
}

interface Settings {
  readonly searchPath: string;
  readonly marker: string;
  readonly isolation: string;
  /** Names and versions of projections that are inline, as JSON. */
  readonly inline: string;
  /** {@link Keys}, as JSON. */
  readonly keys: string;
}

/** The texts that name aggregates, by stream: an append may name them by their UUIDs. */
type Keys = Readonly<Record<string, string>>;

async function readSettings(
  tx: Sql,
  runs: readonly ProjectionRun[],
  appends: readonly PreparedAppend[],
): Promise<Settings> {
  const names = JSON.stringify(runs.map(({ name }) => name));
  const streamIds = appends.filter(({ aggregate }) => isUuid(aggregate.id)).map(({ streamId }) => streamId);
  const [row] = await tx<Settings[]>`
    select
      current_setting('search_path') as "searchPath",
      coalesce(current_setting('cqrs.projection', true), '') as marker,
      current_setting('transaction_isolation') as isolation,
      coalesce(
        (
          select jsonb_agg(jsonb_build_array(name, version))::text
          from read_model.projection_version
          where status = 'serving' and owner = ${inlineOwner}
            and name in (select jsonb_array_elements_text(${names}::text::jsonb))
        ),
        '[]'
      ) as inline,
      coalesce(
        (
          select jsonb_object_agg(stream_id, aggregate_key)::text
          from event_store.event_stream
          where stream_id = any (${`{${streamIds}}`}::text::uuid[]) and aggregate_key is not null
        ),
        '{}'
      ) as keys`;
  return row as Settings;
}

/** After the append, which would otherwise turn `synchronous_commit` on as it does for projections. */
async function enterReadModel(tx: Sql, idleMs: number | undefined): Promise<void> {
  await tx`
    select
      set_config('search_path', ${servingPath}, true),
      set_config('cqrs.projection', 'on', true),
      set_config(
        'idle_in_transaction_session_timeout',
        coalesce(${idleMs === undefined ? null : `${idleMs}`}, current_setting('idle_in_transaction_session_timeout')),
        true
      )`;
}

function checkInline({ runs, left }: InlineBatch, { isolation, inline }: Settings): void {
  if (isolation !== "read committed") {
    throw new InvalidInput(`projections that run inline need a READ COMMITTED transaction; this one is ${isolation}`);
  }
  const found = new Set((JSON.parse(inline) as [string, number][]).map(([name, version]) => `${version} ${name}`));
  left.push(...runs.filter(({ name, version }) => !found.has(`${version} ${name}`)));
  if (left.length > 0) throw new Error("a projection is no longer inline");
}

/** @returns the events that were stored, in the order of the log */
function recordStored(appends: readonly PreparedAppend[], outcomes: Outcomes, keys: Keys): RecordedEvent[] {
  const events = appends.flatMap(({ streamId, aggregate: { type, id }, events, ids }, index) => {
    const outcome = outcomes[index];
    if (outcome?.ok !== true || outcome.value.deduplicated) return [];
    const aggregate = { type, id: keys[streamId] ?? id };
    const occurredAt = outcome.value.now as Date;
    return recordEvents(events, { aggregate, result: readResult(outcome.value, ids), occurredAt });
  });
  return events.toSorted((one, other) => (one.position < other.position ? -1 : 1));
}

async function handleStored(tx: ProjectionTransaction, run: ProjectionRun, stored: RecordedEvent[]): Promise<void> {
  const events = stored.filter((event) => handles(run, event));
  if (events.length === 0) return;
  await runCode(run, tx, async () => {
    const converted = upcastCopies(events, run.store.upcasters, run.events);
    if (converted.length === 0) return;
    await run.handle(converted, tx);
    await run.refresh?.(tx);
  });
  await writePosition(tx, run, events.at(-1)?.position ?? 0n);
}

/** Of the backend's own row, so that it waits for nobody. */
async function writePosition(tx: Sql, { name, version }: ProjectionRun, position: bigint): Promise<void> {
  await tx`
    insert into read_model.inline_position as known (name, version, backend_pid, position)
    values (${name}, ${version}, pg_catalog.pg_backend_pid(), ${position})
    on conflict (name, version, backend_pid) do update set position = greatest(known.position, excluded.position)`;
}

/** @throws {RunFailed} if the code of a projection has ended the transaction */
async function leaveReadModel(tx: Sql, runs: readonly ProjectionRun[], before: Settings): Promise<void> {
  const [row] = await tx<{ isMarked: boolean }[]>`
    select
      current_setting('cqrs.projection', true) = 'on' as "isMarked",
      set_config('search_path', ${before.searchPath}, true),
      set_config('cqrs.projection', ${before.marker}, true)`;
  if (row?.isMarked !== true) throw transactionEnded({ name: runs.map(({ name }) => name).join(", ") });
}
