import type { HorizonHolder } from "../event-store/projection/progress.ts";
import type { Sql } from "../postgres/driver.ts";

/** @returns the transaction that keeps readers from stored events; null if there is none, or no event store */
export async function readLogHolder(sql: Sql): Promise<HorizonHolder | null> {
  const [known] = await sql`select where to_regprocedure('event_store.horizon_holder()') is not null`;
  if (known === undefined) return null;
  const [row] = await sql<HorizonHolder[]>`
    select pid, gid, login, application_name as "applicationName", state, to_jsonb(since) #>> '{}' as since
    from (select * from event_store.horizon_holder() order by held_position limit 1) as holder
    where exists (select from event_store.domain_event where global_position > held_position)`;
  return row === undefined ? null : { ...row };
}

/** @returns such as `cqrs_user (billing), pid 4711, idle in transaction since 2026-11-27T09:12:13+00:00` */
export function describeLogHolder(holder: HorizonHolder): string {
  const { pid, gid, login, applicationName, state, since } = holder;
  const who = `${login ?? "unknown login"}${applicationName === null ? "" : ` (${applicationName})`}`;
  const what = gid === null ? `pid ${pid}, ${state ?? "state unknown"}` : `prepared transaction ${gid}`;
  return `${who}, ${what}${since === null ? "" : ` since ${since}`}`;
}
