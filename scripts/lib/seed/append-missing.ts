import { type PreparedAppend, sendBatch } from "../event-store/append.ts";
import { explainError } from "../event-store/errors.ts";
import { noteAppend } from "../event-store/transaction.ts";
import type { Sql } from "../postgres/driver.ts";

/** What became of an append: at a position of the log, where it may have been before; or refused, with the error. */
export type SeedOutcome =
  | { readonly ok: true; readonly isNew: boolean; readonly position: bigint }
  | { readonly ok: false; readonly error: unknown };

/** An append of one event. */
export type SeedAppend = PreparedAppend;

/**
 * Appends events in the given order, as one batch. Those that are in the log are left out, so that a repeated run costs
 * little and changes nothing.
 *
 * If something is refused, the caller rolls the transaction back.
 */
export async function appendMissing(tx: Sql, appends: readonly SeedAppend[]): Promise<SeedOutcome[]> {
  noteAppend(tx);
  const found = await findEvents(tx, appends);
  const outcomes = new Map<SeedAppend, SeedOutcome>();
  const missing = appends.filter((append) => !found.has(idOf(append)));
  for (const [index, outcome] of (missing.length === 0 ? [] : await sendBatch(tx, missing)).entries()) {
    const append = missing[index] as SeedAppend;
    const { ok } = outcome;
    outcomes.set(append, ok ? { ok, isNew: true, position: outcome.value.last_position } : outcome);
  }
  for (const append of appends) {
    const event = found.get(idOf(append));
    if (event !== undefined) outcomes.set(append, await repeat(tx, append, event));
  }
  return appends.map((append) => outcomes.get(append) as SeedOutcome);
}

interface FoundEvent {
  readonly id: string;
  readonly position: bigint;
  readonly isSame: boolean;
}

/**
 * One look-up in an index per id, whatever the planner believes: the statistics of a table that is being filled are those
 * of an earlier state, and a plan for an empty table takes minutes.
 */
async function findEvents(tx: Sql, appends: readonly SeedAppend[]): Promise<ReadonlyMap<string, FoundEvent>> {
  const ids = `{${appends.map(idOf)}}`;
  await tx`select set_config('enable_seqscan', 'off', true)`;
  const known = await tx<{ id: string }[]>`
    select id::text as id
    from unnest(${ids}::text::uuid[]) as id
    cross join lateral (select from event_store.domain_event where event_id = id limit 1) as event`;
  if (known.length === 0) return new Map();
  const isKnown = new Set(known.map(({ id }) => id));
  const elements = appends.filter((append) => isKnown.has(idOf(append))).map(({ element }) => element);
  const rows = await tx<FoundEvent[]>`
    select
      given ->> 'event_id' as id,
      global_position as position,
      event.stream_id = (append ->> 'stream_id')::uuid
        and event.event_type = given ->> 'event_type'
        and event.event_data = given -> 'event_data' as "isSame"
    from jsonb_array_elements(${`[${elements}]`}::text::jsonb) as append
    cross join jsonb_array_elements(append -> 'events') as given
    cross join lateral (
      select * from event_store.domain_event where event_id = (given ->> 'event_id')::uuid limit 1
    ) as event`;
  return new Map(rows.map((row) => [row.id, row]));
}

/** The server knows whether another event with the same id is a repetition: the first one may have been redacted. */
async function repeat(tx: Sql, append: SeedAppend, { isSame, position }: FoundEvent): Promise<SeedOutcome> {
  if (isSame) return { ok: true, isNew: false, position };
  const [outcome] = await sendBatch(tx, [append]);
  if (outcome?.ok === false) return { ok: false, error: explainError(outcome.error) };
  return { ok: true, isNew: false, position };
}

function idOf({ ids: [id = ""] }: SeedAppend): string {
  return id;
}
