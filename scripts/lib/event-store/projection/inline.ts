import { clearInterval, setInterval } from "node:timers";
import type { Sql } from "../../postgres/driver.ts";
import { inSavepoint } from "../../postgres/transaction.ts";
import { type AppendRow, type InlineAppends, InlineFailure, type PreparedAppend } from "../append.ts";
import { InvalidInput } from "../errors.ts";
import type { CallerTransaction, DomainEvent } from "../event.ts";
import type { StoreParts } from "../opened-store.ts";
import { isTransaction } from "../transaction.ts";
import type { ItemOutcome } from "../work-queue.ts";
import { attempt, isInstance } from "./attempt.ts";
import { type ProjectionDefinition, type ProjectionRun, type ProjectionTransaction, RunFailed } from "./definition.ts";
import { appendAndHandle, handlesAny } from "./inline-append.ts";
import { inlineOwner } from "./inline-lock.ts";
import { makeInline } from "./inline-registration.ts";
import { makeRun } from "./run.ts";

type Outcomes = readonly ItemOutcome<AppendRow>[];

/** Why appends that a projection handles are refused. */
type Refusals = ReadonlyMap<ProjectionRun, { readonly error: unknown }>;

const leaseMs = 15_000;
const heartbeatMs = 2_000;
/** How long the lease is valid after a store was closed, unless another one sends a heartbeat. */
const closedLeaseMs = 2 * heartbeatMs;
const neverAborted = new AbortController().signal;

/** The projections of a store that handle events in the transactions of their appends. */
export class InlineProjections implements InlineAppends {
  readonly #store: StoreParts;
  readonly #runs: readonly ProjectionRun[];
  /** Those that are inline, or about to be. */
  readonly #registered = new Map<ProjectionRun, Promise<void>>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;

  /** @throws {InvalidInput} if a definition is invalid */
  constructor(store: StoreParts, definitions: readonly ProjectionDefinition[]) {
    this.#store = store;
    this.#runs = makeRuns(store, definitions);
  }

  handles(append: PreparedAppend): boolean {
    return this.#runs.some((run) => handlesAny(run, append));
  }

  includes(name: string, version: number): boolean {
    return this.#runs.some((run) => run.name === name && run.version === version);
  }

  /** Makes the projections inline as far as possible. Never throws: an append says what is wrong. */
  async prepare(): Promise<void> {
    await this.#register(this.#runs).catch(() => undefined);
  }

  /** Appends in a transaction of its own. The batch may have appends that no projection handles. */
  async send(appends: readonly PreparedAppend[]): Promise<Outcomes> {
    const refusals = await this.#register(this.#runsOf(appends));
    const refused = appends.map((append) => refusalOf(append, refusals));
    const accepted = appends.filter((_, index) => refused[index] === undefined);
    const outcomes = (accepted.length === 0 ? [] : await this.#sendAccepted(accepted)).values();
    return refused.map((refusal) =>
      refusal === undefined ? (outcomes.next().value as Outcomes[number]) : { ok: false, error: refusal.error },
    );
  }

  async #sendAccepted(appends: readonly PreparedAppend[]): Promise<Outcomes> {
    const runs = this.#runsOf(appends);
    const left: ProjectionRun[] = [];
    let outcomes: Outcomes = [];
    const name = runs.map((run) => run.name).join(", ");
    const ended = await attempt({ store: this.#store, name, leaseMs, abandoned: neverAborted }, async (tx) => {
      outcomes = await appendAndHandle(tx, { runs, appends, left, idleMs: leaseMs });
    }).catch((error: unknown) => {
      throw isInstance(error, RunFailed) ? new InlineFailure((error as RunFailed).reason) : error;
    });
    if (ended.ok) return outcomes;
    if (left.length === 0) throw new InlineFailure(ended.error, ended.kind === "conflict");
    this.#forget(left);
    return await this.send(appends);
  }

  async appendWithin(transaction: CallerTransaction, append: PreparedAppend): Promise<Outcomes> {
    if (!isTransaction(transaction)) throw needsSavepoints();
    const runs = this.#runsOf([append]);
    for (const { error } of (await this.#register(runs)).values()) throw error;
    const left: ProjectionRun[] = [];
    try {
      return await inSavepoint(transaction as Sql, (tx) =>
        appendAndHandle(tx as ProjectionTransaction, { runs, appends: [append], left, idleMs: undefined }),
      );
    } catch (error) {
      if (left.length === 0) throw isInstance(error, RunFailed) ? (error as RunFailed).reason : error;
    }
    this.#forget(left);
    return await this.appendWithin(transaction, append);
  }

  /** Ends the heartbeats. The versions stay inline; once the lease has expired, `project()` can take it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await Promise.allSettled([...this.#registered.keys()].map(shortenLease));
  }

  #runsOf(appends: readonly PreparedAppend[]): readonly ProjectionRun[] {
    return this.#runs.filter((run) => appends.some((append) => handlesAny(run, append)));
  }

  /** @throws the error of the connection */
  async #register(runs: readonly ProjectionRun[]): Promise<Refusals> {
    const refusals = new Map<ProjectionRun, { readonly error: unknown }>();
    for (const run of runs) {
      try {
        await this.#registerOnce(run);
      } catch (error) {
        if (!isInstance(error, RunFailed)) throw error;
        refusals.set(run, { error: (error as RunFailed).reason });
      }
    }
    return refusals;
  }

  #registerOnce(run: ProjectionRun): Promise<void> {
    const known = this.#registered.get(run);
    if (known !== undefined) return known;
    const registration = makeInline(run)
      .then(() => sendHeartbeat(run))
      .then(() => this.#startHeartbeats());
    this.#registered.set(run, registration);
    registration.catch(() => this.#registered.delete(run));
    return registration;
  }

  #forget(runs: readonly ProjectionRun[]): void {
    for (const run of runs) this.#registered.delete(run);
  }

  #startHeartbeats(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    let isBeating = false;
    const beat = async () => {
      if (isBeating) return;
      isBeating = true;
      for (const run of this.#registered.keys()) await sendHeartbeat(run).catch(() => undefined);
      isBeating = false;
    };
    this.#timer = setInterval(() => void beat(), heartbeatMs);
    this.#timer.unref();
  }
}

async function sendHeartbeat({ store, name, version }: ProjectionRun): Promise<void> {
  await store.projections`
    update read_model.projection_version
    set
      heartbeat_at = clock_timestamp(),
      expires_at = clock_timestamp() + make_interval(secs => ${leaseMs / 1_000}::float8)
    where name = ${name} and version = ${version} and owner = ${inlineOwner}`;
}

async function shortenLease({ store, name, version }: ProjectionRun): Promise<void> {
  await store.projections`
    update read_model.projection_version
    set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => ${closedLeaseMs / 1_000}::float8))
    where name = ${name} and version = ${version} and owner = ${inlineOwner}`;
}

function makeRuns(store: StoreParts, definitions: readonly ProjectionDefinition[]): ProjectionRun[] {
  const runs = definitions.map((definition) => makeInlineRun(store, definition));
  const names = runs.map(({ name }) => name);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated === undefined) return runs;
  throw new InvalidInput(`inlineProjections has two projections with the name ${repeated}`);
}

function makeInlineRun(store: StoreParts, definition: ProjectionDefinition<DomainEvent>): ProjectionRun {
  try {
    return makeRun(store, definition, { call: "inlineProjections", abandoned: neverAborted });
  } catch (error) {
    throw error instanceof RunFailed ? error.reason : error;
  }
}

function refusalOf(append: PreparedAppend, refusals: Refusals): { readonly error: unknown } | undefined {
  for (const [run, refusal] of refusals) if (handlesAny(run, append)) return refusal;
  return undefined;
}

function needsSavepoints(): InvalidInput {
  return new InvalidInput(
    "a projection handles these events inline, which needs savepoints: pass the transaction of store.transaction() " +
      "or sql.begin(), not a reserved connection",
  );
}
