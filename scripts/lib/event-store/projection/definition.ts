import type { Sql } from "../../postgres/connect.ts";
import type { DomainEvent, RecordedEvent } from "../event.ts";
import type { EventStore } from "../store.ts";

/** What a projection makes of events. */
export interface ProjectionDefinition<Event extends DomainEvent = DomainEvent> {
  /** Name under which its checkpoint is kept; 1 to 255 characters. */
  readonly name: string;
  /** Version of the code, from 1: raise it whenever the tables or what is written to them change. */
  readonly version: number;
  /** The types of events it wants; @default all, which is read faster than a list of nearly all */
  readonly events?: readonly Event["type"][];
  /** The tables it fills, so that a new version can be built beside the one that serves. */
  readonly relations?: ProjectionRelations;
  /**
   * Writes what follows from some events, in the transaction that also writes the checkpoint. The events of one stream
   * come in their order; those of different streams may be handled at the same time by different workers.
   *
   * Names of tables are to stand without a schema: which one they are in depends on whether this version serves yet.
   *
   * @param transaction for all that is to happen exactly once; it may be undone and the events given again
   */
  handle(events: readonly RecordedEvent<Event>[], transaction: Sql): Promise<unknown>;
  /** Brings up to date what is not written with each batch, such as materialised views; when the log's end was reached. */
  refresh?(transaction: Sql): Promise<unknown>;
}

/** Tables and views of a projection. */
export interface ProjectionRelations {
  /** Their names without a schema, each after those it is made of. */
  readonly names: readonly string[];
  /** Makes them, by names without a schema. */
  create(transaction: Sql): Promise<unknown>;
}

/** How to run a projection. */
export interface ProjectOptions<Event extends DomainEvent = DomainEvent> extends ProjectionDefinition<Event> {
  /** How many shares of the streams are worked on at the same time; @default 1 */
  readonly partitions?: number;
  /** Greatest number of events that are read at once; @default 1000 */
  readonly batchSize?: number;
  /** How often an event is tried before it is set aside; @default 5 */
  readonly maxAttempts?: number;
  /** How long others wait for a sign of life before they take over, in milliseconds; @default 15000 */
  readonly leaseMs?: number;
  /** Returns once the end of the log is projected, and this version serves. */
  readonly stopWhenCaughtUp?: boolean;
  /** Ends the run after the events under way. */
  readonly signal?: AbortSignal;
}

/** A run with its defaults filled in. */
export interface ProjectionRun extends Required<Omit<ProjectOptions, "events" | "relations" | "refresh">> {
  readonly store: EventStore;
  /** Who holds the lease; another one for each run. */
  readonly owner: string;
  readonly events: readonly string[] | undefined;
  readonly relations: ProjectionRelations | undefined;
  readonly refresh: ((transaction: Sql) => Promise<unknown>) | undefined;
}

/** What a version is: still being filled, seen by readers, or replaced. */
export type ProjectionStatus = "building" | "serving" | "retired";

/** Why a run ended: its signal, the log's end where that was asked for, or a later version that took its place. */
export type ProjectionOutcome = "stopped" | "caught-up" | "retired";

/** Another owner has the lease: what was being done is undone. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";

  constructor({ name, version }: Pick<ProjectionDefinition, "name" | "version">) {
    super(`another process took over version ${version} of the projection ${name}`);
  }
}

/**
 * Makes names without a schema mean the tables of a version, until the transaction ends.
 *
 * Its commit does not wait for the disk: what a crash takes back, it takes back together with the checkpoint, and the
 * events are handled again. Appends do wait; nothing of the log is lost.
 *
 * A process that sleeps in the middle of it would keep rows locked that its successor needs, hence the time-out.
 *
 * @returns whether the projection has events that were set aside
 */
export async function enterVersionSchema(
  transaction: Sql,
  { name, version, leaseMs }: Pick<ProjectionRun, "name" | "version" | "leaseMs">,
  status: ProjectionStatus,
): Promise<boolean> {
  const [row] = await transaction<{ hasDeadLetters: boolean }[]>`
    select
      set_config('search_path', ${searchPaths[status]}, true),
      set_config('synchronous_commit', 'off', true),
      set_config('idle_in_transaction_session_timeout', ${`${leaseMs}`}, true),
      exists (
        select from read_model.dead_letter where name = ${name} and version = ${version}
      ) as "hasDeadLetters"`;
  return row?.hasDeadLetters === true;
}

const serving = "read_model, command_model, event_store, public";
const searchPaths = { building: `read_model_next, ${serving}`, serving, retired: serving } as const;
