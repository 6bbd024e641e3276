import { pollUntil } from "../../retry.ts";
import { checkOptions, isCount, isSignal, type OptionChecks } from "../check-options.ts";
import { checkpointPlace } from "../checkpoint.ts";
import { explainError } from "../errors.ts";
import type { Checkpoint } from "../event.ts";
import type { LogPlace } from "../log-place.ts";
import type { EventStore } from "../opened-store.ts";
import { answerUntilAborted } from "../waiting.ts";
import type { ProjectionStatus } from "./definition.ts";
import { inlineOwner } from "./inline-lock.ts";

/** How long to wait for a projection. */
export interface WaitUntilOptions {
  /** In milliseconds; @default 10000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const waitUntilOptions: OptionChecks<WaitUntilOptions> = { timeoutMs: isCount(0), signal: isSignal };

/** A projection did not reach the checkpoint in time. */
export class ProjectionBehind extends Error {
  override readonly name = "ProjectionBehind";
}

/**
 * Waits until a projection has handled the log up to a checkpoint, so that its readers see their own writes. The
 * projection may run in any process.
 *
 * ```ts
 * const { lastPosition } = await appendEvents(store, order, events);
 * await waitUntil(store, "order_summary", checkpointAfter({ position: lastPosition }));
 * ```
 *
 * Dead letters count as handled. Does not wait for `refresh`.
 *
 * @param name name of the projection; only the version that serves counts
 * @throws {ProjectionBehind} if that takes longer than `timeoutMs`
 * @throws {LogRewound} if the log no longer contains the event of the checkpoint
 * @throws the reason of the signal
 */
export async function waitUntil(
  store: EventStore,
  name: string,
  checkpoint: Checkpoint,
  options: WaitUntilOptions = {},
): Promise<void> {
  checkOptions(options, waitUntilOptions, "waitUntil()");
  const { timeoutMs = 10_000, signal } = options;
  const place = checkpointPlace(checkpoint);
  const { position: wanted } = place;
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new ServerSilent()), timeoutMs + answerMs);
  const either = AbortSignal.any([silence.signal, ...(signal === undefined ? [] : [signal])]);
  let state = "";
  const probe = async () => {
    signal?.throwIfAborted();
    const position = await readServingPosition(store, name, either);
    state = describePosition(position, wanted);
    return (position !== null && position >= wanted) || undefined;
  };
  const intervalMs = (attempt: number) => Math.min(5 * 1.5 ** attempt, 100);
  try {
    if (place.eventId !== null) await checkPlace(store, place, either);
    if (await pollUntil(probe, { timeoutMs, intervalMs, signal })) return;
  } catch (error) {
    if (!(error instanceof ServerSilent)) throw error;
    state = "the server does not answer";
  } finally {
    clearTimeout(timer);
  }
  throw new ProjectionBehind(`the projection ${name} did not reach the checkpoint within ${timeoutMs} ms: ${state}`);
}

async function checkPlace({ sql }: EventStore, place: LogPlace, signal: AbortSignal): Promise<void> {
  const { position, eventId, epochId } = place;
  const statement = sql`select event_store.check_checkpoint(${position}, ${eventId}, ${epochId})`;
  try {
    await answerUntilAborted(statement, signal);
  } catch (error) {
    throw explainError(error);
  }
}

/** How long the last answer may take beyond the time limit. */
const answerMs = 1_000;

class ServerSilent extends Error {}

function describePosition(position: bigint | null, wanted: bigint): string {
  return position === null
    ? "no version of it is serving"
    : `it is at position ${position}, ${wanted - position} behind`;
}

/**
 * @returns the lowest checkpoint of the version that serves; the end of the log if it runs inline; null if none serves
 */
async function readServingPosition({ sql }: EventStore, name: string, signal: AbortSignal): Promise<bigint | null> {
  const statement = sql<{ reached: bigint | null }[]>`
    select min(
      case when owner = ${inlineOwner} then event_store.last_drawn_position() else projection.checkpoint end
    ) as reached
    from read_model.projection
    join read_model.projection_version using (name, version)
    where name = ${name} and status = 'serving'`;
  const [row] = await answerUntilAborted(statement, signal);
  return row?.reached ?? null;
}

/** How far a version of a projection lags behind the log, and why. */
export interface ProjectionLag {
  readonly name: string;
  readonly version: number;
  readonly status: ProjectionStatus;
  readonly partitions: number;
  /** Stored events after its checkpoint, of any type; negative if the checkpoint is beyond the end of the log. */
  readonly lagEvents: number;
  /** Age of the oldest of them. */
  readonly lagSeconds: number;
  /** The run that holds the lease; "inline" if open event stores handle its events inline; null if none does. */
  readonly owner: string | null;
  readonly heartbeatAt: Date | null;
  readonly expiresAt: Date | null;
  readonly deadLetters: number;
  /** The transaction that keeps readers from reaching the end of the log; null if there is none. */
  readonly holder: HorizonHolder | null;
  /** Why the log may have been rewound behind the projection and other readers; null if it has not. */
  readonly logProblem: string | null;
}

/** A transaction in flight: until it ends, later events cannot be read. */
export interface HorizonHolder {
  /** Pid of the session's server process; null for a prepared transaction. */
  readonly pid: number | null;
  /** Name of a prepared transaction. */
  readonly gid: string | null;
  readonly login: string | null;
  readonly applicationName: string | null;
  readonly state: string | null;
  readonly since: string | null;
}

/** Reads the view `read_model.projection_lag`: every version of every projection, and how far it lags behind. */
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
      end as holder,
      log_problem as "logProblem"
    from read_model.projection_lag
    order by name, version`;
  return [...rows];
}
