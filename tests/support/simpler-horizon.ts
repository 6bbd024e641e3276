import type { Sql } from "../../scripts/lib/postgres/driver.ts";

/** Answers that `safe_position()` could give more simply. Each of them loses events or reads too much. */
export const simplerAnswers = {
  /** The bound itself: also positions of transactions that were rolled back. */
  drawn: "least(v_last, v_floor)",
  /** On an empty log, there is no greatest position, so that the bound is the answer again. */
  least: "least(v_last, v_floor, (select max(global_position) from event_store.domain_event))",
} as const;

/** The name of a simpler answer. */
export type SimplerAnswer = keyof typeof simplerAnswers;

/** Replaces `safe_position()` in a test's database by a simpler form. */
export async function simplifyHorizon(admin: Sql, answer: SimplerAnswer): Promise<void> {
  await admin.unsafe(`
    create or replace function event_store.safe_position() returns bigint
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    declare
      v_last bigint := event_store.last_drawn_position();
      v_floor bigint := (
        select min((classid::bigint & 65535) << 32 | objid::bigint)
        from pg_locks
        where locktype = 'advisory' and objsubid = 1 and classid::bigint >> 16 = 229 and granted
          and database = (select oid from pg_database where datname = current_database())
      );
      v_safe bigint;
    begin
      v_safe := ${simplerAnswers[answer]};
      perform set_config('cqrs.safe_position', v_safe::text, false);
      return v_safe;
    end
    $$`);
}
