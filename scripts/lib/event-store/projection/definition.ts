import type { Sql, Transaction } from "../../postgres/driver.ts";
import { InvalidInput } from "../errors.ts";
import type { DomainEvent, RecordedEvent } from "../event.ts";
import type { StoreParts } from "../opened-store.ts";

/** A transaction that a projection's code runs in. */
export type ProjectionTransaction = Sql & Pick<Transaction, "savepoint">;

/** What a projection derives from events. */
export interface ProjectionDefinition<Event extends DomainEvent = DomainEvent> {
  /** Identifies its checkpoint; 1 to 255 characters. */
  readonly name: string;
  /** Version of the code, from 1. Increase it whenever the tables, or what is written to them, change. */
  readonly version: number;
  /**
   * The types of events it handles; @default all. Another list needs another version. A list of nearly all types reads
   * more slowly than no list.
   */
  readonly events?: readonly Event["type"][];
  /** The tables it fills. If given, a new version fills its own while the old version serves. */
  readonly relations?: ProjectionRelations;
  /**
   * Handles events in the transaction that also writes the checkpoint. The events of one stream come in order.
   * Different partitions may be handled concurrently.
   *
   * Write table names without a schema: the schema depends on whether this version serves yet. Do not commit or roll
   * back the transaction. To go on after a statement that failed, run it in a savepoint.
   *
   * @param transaction for everything that must take effect exactly once; if it is rolled back, the events come again
   */
  handle(events: readonly RecordedEvent<Event>[], transaction: ProjectionTransaction): Promise<unknown>;
  /** Updates what is not written with each batch, such as materialised views. Runs at the end of the log. */
  refresh?(transaction: ProjectionTransaction): Promise<unknown>;
}

/** Tables and views of a projection. */
export interface ProjectionRelations {
  /** Their names without a schema, each after those it depends on. */
  readonly names: readonly string[];
  /** Creates them, by names without a schema. */
  create(transaction: ProjectionTransaction): Promise<unknown>;
}

/** How to run a projection. */
export interface ProjectOptions<Event extends DomainEvent = DomainEvent> extends ProjectionDefinition<Event> {
  /** How many partitions the streams are divided into; partitions are handled concurrently; @default 1 */
  readonly partitions?: number;
  /** Maximum number of events to read at a time; @default 1000 */
  readonly batchSize?: number;
  /** Attempts before an event becomes a dead letter; @default 5 */
  readonly maxAttempts?: number;
  /** The pause after the first attempt, in milliseconds; each further one is four times as long; @default 2000 */
  readonly retryPauseMs?: number;
  /** The longest pause between two attempts, in milliseconds; @default 300000 */
  readonly maxRetryPauseMs?: number;
  /** How long the lease is valid after a heartbeat, in milliseconds; @default 15000 */
  readonly leaseMs?: number;
  /** Return once the end of the log is projected and this version serves; @default false */
  readonly stopWhenCaughtUp?: boolean;
  /** Stops the run once the events in flight are handled, or after 5 seconds. */
  readonly signal?: AbortSignal;
}

/** A run with its defaults filled in. */
export interface ProjectionRun extends Required<Omit<ProjectOptions, "events" | "relations" | "refresh">> {
  readonly store: StoreParts;
  /** How often the session was lost while a batch was handled, by batch; removed once the batch is committed. */
  readonly losses: Map<string, number>;
  /** Aborted if the run has ended without waiting for its batch, which must no longer commit. */
  readonly abandoned: AbortSignal;
  /** Identifies the run that holds the lease; unique to each run. */
  readonly owner: string;
  readonly events: readonly string[] | undefined;
  readonly relations: ProjectionRelations | undefined;
  readonly refresh: ((transaction: ProjectionTransaction) => Promise<unknown>) | undefined;
}

/** A version is being built, is the one that readers see, or has been replaced. */
export type ProjectionStatus = "building" | "serving" | "retired";

/** Why a run ended: its signal, the end of the log if `stopWhenCaughtUp`, or a later version that replaced this one. */
export type ProjectionOutcome = "stopped" | "caught-up" | "retired";

/** Another owner has the lease: the transaction is rolled back. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";

  constructor({ name, version }: Pick<ProjectionDefinition, "name" | "version">) {
    super(`another process took over version ${version} of the projection ${name}`);
  }
}

/**
 * The projection cannot go on. `project()` throws the reason; the command line explains it by its kind: `refused` is
 * our own objection, `misfit` an error of class 42 that the server raised, `failed` an error of the projection's code.
 */
export class RunFailed extends Error {
  override readonly name = "RunFailed";
  readonly kind: "refused" | "misfit" | "failed";
  readonly reason: unknown;

  constructor(kind: RunFailed["kind"], reason: unknown) {
    super(`the run failed (${kind})`);
    this.kind = kind;
    this.reason = reason;
  }
}

/** Rejects with what the caller of the package expects in place of a {@link RunFailed}. */
export async function withReason<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof RunFailed ? error.reason : error;
  }
}

/** @returns the failure of a run whose definition is wrong */
export function refused(message: string): RunFailed {
  return new RunFailed("refused", new InvalidInput(message));
}

/**
 * Resolves names without a schema to the tables of a version, until the transaction ends.
 *
 * The commit does not wait for the disk. A crash may undo it, but undoes the checkpoint too, so the events are handled
 * again. If the code of the projection appends, the commit does wait (`event_store.publish_floor`), and so do all other
 * appends: the log loses nothing.
 *
 * The timeout releases rows that a suspended process keeps locked and that its successor needs. The setting
 * `cqrs.projection` lasts as long as the transaction, so its absence shows that the projection's code has ended it.
 *
 * @returns whether the projection has dead letters
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
      set_config('cqrs.projection', 'on', true),
      exists (
        select from read_model.dead_letter where name = ${name} and version = ${version}
      ) as "hasDeadLetters"`;
  return row?.hasDeadLetters === true;
}

/** Where names without a schema lead in the code of a version that serves. */
export const servingPath = "read_model, command_model, event_store, public";
const searchPaths = {
  building: `read_model_next, ${servingPath}`,
  serving: servingPath,
  retired: servingPath,
} as const;
