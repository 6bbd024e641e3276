import type { Sql, Transaction } from "../postgres/driver.ts";
import type { AppendTarget } from "./append.ts";
import type { Availability } from "./availability.ts";
import type { Logger } from "./logger.ts";
import type { Turns } from "./turns.ts";
import type { UpcastPlan } from "./upcast.ts";
import type { WakeUps } from "./wake-ups.ts";

/** A pool of connections to an event store, and what its calls share. */
export interface EventStore extends StoreParts, AppendTarget, AsyncDisposable {
  /**
   * Runs work in a transaction: commits if it resolves, and rolls back if it rejects. Pass `tx` to `appendEvents()`,
   * `decide()`, `loadAggregate()`, `readStream()` and `readAll()` as `{ transaction: tx }`, and use it for your own
   * statements. Subscriptions and projections hear of its events once it has committed.
   *
   * @returns what the work resolves to
   * @throws what the work rejects with; the error of the connection if it is lost
   */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
}

/** What an event store consists of, besides its queue of appends. */
export interface StoreParts {
  /** The pool, for your own statements and transactions. */
  readonly sql: Sql;
  /**
   * @internal The connections in which projections run their own code. They are apart from those of callers, because
   * that code may use the store while its transaction is open.
   */
  readonly projections: Sql;
  /** @internal Turns of `decide()`, per stream. */
  readonly decisions: Turns;
  /** @internal */
  readonly upcasters: UpcastPlan;
  /** @internal Wakes readers when there may be new events. */
  readonly wakeUps: WakeUps;
  /** @internal Never throws. */
  readonly logger: Logger;
  /** @internal What is known about the server. */
  readonly availability: Availability;
}
