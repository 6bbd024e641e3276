import { clearTimeout, setTimeout } from "node:timers";
import type { Sql, TransactionState } from "../../postgres/driver.ts";
import { errorCode, isConflict, isFromServer, isMisfit } from "../../postgres/failure.ts";
import { inTransaction, transactionState } from "../../postgres/transaction.ts";
import { describeError } from "../describe-error.ts";
import { LeaseLost, type ProjectionRun, type ProjectionTransaction, RunFailed, refused } from "./definition.ts";

/**
 * How a transaction with a projection's code ended. A failure is judged by where the error comes from, never by a code
 * that code of the projection put on it:
 *
 * - `conflict`, `misfit`: the server raised it in this transaction, with SQLSTATE class 40 or 55P03, or class 42
 * - `swallowed`: a statement failed, and the code went on
 * - `idle`: the code left the transaction idle until the session ended
 * - `failure`: anything else; whatever the code has thrown
 */
export type Attempt =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly kind: "conflict" | "misfit" | "swallowed" | "idle" | "failure";
      readonly error: unknown;
    };

export type FailedAttempt = Extract<Attempt, { readonly ok: false }>;

/** What an attempt needs to know about its run. */
export type AttemptRun = Pick<ProjectionRun, "store" | "name" | "leaseMs" | "abandoned">;

/**
 * Runs code of a projection in a READ COMMITTED transaction on a connection of the projections.
 *
 * @param isPatient whether the end of the session counts as an outage of the store, rather than as a failure; it is
 * passed the age of the transaction in milliseconds
 * @throws {LeaseLost} {@link RunFailed}
 * @throws the error of the connection if the store's session could not be opened, or was lost
 */
export async function attempt(
  run: AttemptRun,
  work: (tx: ProjectionTransaction) => Promise<void>,
  isPatient: (ageMs: number) => boolean = () => true,
): Promise<Attempt> {
  const progress: AttemptProgress = { state: undefined, isCommitting: false, startedAt: 0 };
  try {
    const perform = async (tx: Sql) => {
      progress.state = transactionState(tx);
      progress.startedAt = performance.now();
      await work(tx as ProjectionTransaction);
      progress.isCommitting = true;
    };
    await inTransaction(run.store.projections, perform, "isolation level read committed");
    return { ok: true };
  } catch (error) {
    if (run.abandoned.aborted || endsRun(error)) throw error;
    const { state } = progress;
    if (state === undefined) throw error;
    if (state.loss === undefined) return judge(state, progress.isCommitting, error);
    // Whether it has committed is unknown, so the checkpoint must be read again.
    if (progress.isCommitting) throw state.loss;
    const ageMs = performance.now() - progress.startedAt;
    const isTimeout = idleTimeouts.has(errorCode(state.loss));
    if (!isTimeout && isPatient(ageMs)) throw state.loss;
    return { ok: false, kind: "idle", error: new SessionEnded(run, state.loss, isTimeout || ageMs >= run.leaseMs) };
  }
}

interface AttemptProgress {
  /** Undefined until the transaction has begun. */
  state: TransactionState | undefined;
  /** Whether the work is done. */
  isCommitting: boolean;
  /** When the transaction began. */
  startedAt: number;
}

function endsRun(error: unknown): boolean {
  return isInstance(error, LeaseLost) || isInstance(error, RunFailed);
}

/** Whether a value that was thrown, whatever it is, is an instance of a class. */
export function isInstance(error: unknown, type: abstract new (...given: never[]) => unknown): boolean {
  try {
    return error instanceof type;
  } catch {
    // A proxy that was thrown may refuse to be looked at.
    return false;
  }
}

/** `idle_in_transaction_session_timeout`, `transaction_timeout` */
export const idleTimeouts: ReadonlySet<string> = new Set(["25P03", "25P04"]);

class SessionEnded extends Error {
  override readonly name = "SessionEnded";

  constructor({ name, leaseMs }: AttemptRun, loss: Error, isIdle: boolean) {
    const why = isIdle
      ? `the projection ${name} left its transaction idle for longer than its lease (${leaseMs} ms)`
      : `the session ended each time while the projection ${name} was at work`;
    super(`${why}: ${loss.message}`);
  }
}

function judge(state: TransactionState, isCommitting: boolean, error: unknown): FailedAttempt {
  const own = findOwnError(state, isCommitting, error);
  if (own === undefined) return { ok: false, kind: "failure", error };
  const isServers = isFromServer(own.error);
  if (isServers && isConflict(own.error)) return { ok: false, kind: "conflict", error };
  if (isServers && isMisfit(own.error)) return { ok: false, kind: "misfit", error: own.error };
  return { ok: false, kind: isInstance(error, StatementFailed) ? "swallowed" : "failure", error };
}

class StatementFailed extends Error {
  override readonly name = "StatementFailed";

  constructor(cause: unknown) {
    const how = "the code went on after it, but the transaction could not; run the statement in a savepoint";
    super(`${describeError(cause)} (${how})`, { cause });
  }
}

/** @returns the error of the transaction because of which it failed; undefined if there is none */
function findOwnError(
  state: TransactionState,
  isCommitting: boolean,
  error: unknown,
): { readonly error: unknown } | undefined {
  // The statements that follow a failed one fail because of it.
  if (state.failure !== undefined) return state.failure;
  if (isCommitting) return { error };
  const own = causes(error).find((cause) => state.isOwnError(cause));
  return own === undefined ? undefined : { error: own };
}

const maxCauses = 10;

/** @returns an error and its causes: libraries wrap the errors of their drivers */
function causes(error: unknown): unknown[] {
  const found: unknown[] = [];
  try {
    for (let one = error; one instanceof Error && found.length < maxCauses; one = one.cause) found.push(one);
  } catch {
    // A value that throws when it is read is no error of the driver.
  }
  return found;
}

/**
 * Waits for code of a projection, and checks that it has not ended the transaction or gone on after an error. If it
 * does not settle although its session has ended, it is left alone after `leaseMs`: none of its statements would be run
 * any more.
 *
 * @throws {RunFailed} if it has ended the transaction; if it has begun another, {@link isMarked} shows that
 */
export async function runCode(run: AttemptRun, tx: Sql, code: () => Promise<unknown>): Promise<void> {
  const state = transactionState(tx);
  try {
    await untilLost(code, state, run.leaseMs);
  } catch (error) {
    if (state.loss !== undefined) throw error;
    if (!state.isOpen || (state.failure === undefined && !(await isMarked(tx)))) throw transactionEnded(run);
    const isFollower = state.failure !== undefined && state.isOwnError(error) && errorCode(error) === "25P02";
    throw isFollower ? new StatementFailed(state.failure.error) : error;
  }
  if (state.loss !== undefined) return;
  if (!state.isOpen) throw transactionEnded(run);
  if (state.failure !== undefined) throw new StatementFailed(state.failure.error);
}

async function untilLost(code: () => Promise<unknown>, state: TransactionState, graceMs: number): Promise<void> {
  const { promise: left, reject } = Promise.withResolvers<never>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const forget = state.onLoss(() => {
    timer = setTimeout(() => reject(new Error("the code did not return")), graceMs);
  });
  try {
    await Promise.race([code(), left]);
  } finally {
    forget();
    clearTimeout(timer);
  }
}

/** Whether a transaction is still the one that was prepared for a projection's code, if it can be asked. */
export async function isMarked(tx: Sql): Promise<boolean> {
  try {
    const [row] = await tx<{ marker: string | null }[]>`select current_setting('cqrs.projection', true) as marker`;
    return row?.marker === "on";
  } catch {
    return true;
  }
}

export function transactionEnded({ name }: Pick<AttemptRun, "name">): RunFailed {
  return refused(
    `the code of the projection ${name} ended its transaction with COMMIT or ROLLBACK; remove that: what it had ` +
      "written by then may be stored, although the checkpoint is not",
  );
}
