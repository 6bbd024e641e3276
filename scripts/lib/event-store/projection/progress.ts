import { pollUntil } from "../../retry.ts";
import { checkpointPosition } from "../checkpoint.ts";
import type { Checkpoint } from "../event.ts";
import type { EventStore } from "../store.ts";
import type { ProjectionStatus } from "./definition.ts";

/** How long to wait for a projection. */
export interface WaitUntilOptions {
  /** In milliseconds; @default 10000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A projection did not come so far in time. */
export class ProjectionBehind extends Error {
  override readonly name = "ProjectionBehind";
}

/**
 * Waits until readers of a projection see what was appended up to a checkpoint: read your own writes. The projection may
 * run in any process.
 *
 * ```ts
 * const { lastPosition } = await appendEvents(store, order, events);
 * await waitUntil(store, "order_summary", checkpointAfter({ position: lastPosition }));
 * ```
 *
 * Events that were set aside count as seen; what `refresh` makes comes later.
 *
 * @param name of the projection; the version that serves counts
 * @throws {ProjectionBehind} when it takes longer than `timeoutMs`
 */
export async function waitUntil(
  store: EventStore,
  name: string,
  checkpoint: Checkpoint,
  options: WaitUntilOptions = {},
): Promise<void> {
  const { timeoutMs = 10_000, signal } = options;
  const wanted = checkpointPosition(checkpoint);
  const seen: { position: bigint | null } = { position: null };
  const probe = async () => {
    signal?.throwIfAborted();
    seen.position = await readServingPosition(store, name);
    return (seen.position !== null && seen.position >= wanted) || undefined;
  };
  const intervalMs = (attempt: number) => Math.min(5 * 1.5 ** attempt, 100);
  if (await pollUntil(probe, { timeoutMs, intervalMs, signal })) return;
  const { position } = seen;
  const state = position === null ? "no version of it serves" : `it is ${wanted - position} positions behind`;
  throw new ProjectionBehind(`the projection ${name} did not come so far within ${timeoutMs} ms: ${state}`);
}

/** @returns how far the slowest partition of the version that serves has come; null if none serves */
async function readServingPosition({ sql }: EventStore, name: string): Promise<bigint | null> {
  const [row] = await sql<{ reached: bigint | null }[]>`
    select min(projection.checkpoint) as reached
    from read_model.projection
    join read_model.projection_version using (name, version)
    where name = ${name} and status = 'serving'`;
  return row?.reached ?? null;
}

/** How far a version of a projection is behind, and why. */
export interface ProjectionLag {
  readonly name: string;
  readonly version: number;
  readonly status: ProjectionStatus;
  readonly partitions: number;
  /** How many events are stored that it has not seen, those it doesn't want included. */
  readonly lagEvents: number;
  /** Age of the first of them. */
  readonly lagSeconds: number;
  /** Who works on it; null when nobody does. */
  readonly owner: string | null;
  readonly heartbeatAt: Date | null;
  readonly expiresAt: Date | null;
  /** How many events were set aside. */
  readonly deadLetters: number;
  /** Who keeps the end of the log from being read; null when nobody does. */
  readonly holder: HorizonHolder | null;
}

/** A transaction that keeps later events from being read until it ends. */
export interface HorizonHolder {
  /** Null for a prepared transaction. */
  readonly pid: number | null;
  /** Name of a prepared transaction. */
  readonly gid: string | null;
  readonly login: string | null;
  readonly applicationName: string | null;
  readonly state: string | null;
  readonly since: string | null;
}

/** Reads how far the projections are behind; `read_model.projection_lag` with names of this language. */
export async function readProjectionLag(store: Pick<EventStore, "sql">): Promise<ProjectionLag[]> {
  const rows = await store.sql<ProjectionLag[]>`
    select
      name,
      version,
      status,
      partition_count as partitions,
      lag_events::float8 as "lagEvents",
      lag_seconds as "lagSeconds",
      owner,
      heartbeat_at as "heartbeatAt",
      expires_at as "expiresAt",
      dead_letters::float8 as "deadLetters",
      case
        when held_position is not null then jsonb_build_object(
          'pid', holder_pid, 'gid', holder_gid, 'login', holder_login, 'applicationName', holder_application_name,
          'state', holder_state, 'since', holder_since
        )
      end as holder
    from read_model.projection_lag
    order by name, version`;
  return [...rows];
}
