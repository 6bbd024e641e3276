import { clearInterval, setInterval } from "node:timers";
import type { Reservation, Settled, Sql, Statement, StatementFactory, Transaction } from "../driver.ts";
import type { ConnectionTarget } from "../target.ts";
import { connectionError } from "./connection-error.ts";
import { Listener } from "./listener.ts";
import { makeStatements, Scope, transact } from "./scope.ts";
import { Session, type SessionEvents, type SessionOptions } from "./session.ts";

/** How a pool keeps sessions. */
export interface PoolOptions {
  /** Maximum number of sessions. */
  readonly max: number;
  /** How long a session may be idle before it is closed; Infinity: never. */
  readonly idleTimeoutMs: number;
  readonly maxLifetimeMs: number;
  readonly session: Omit<SessionOptions, "signal">;
  /** A session has logged in. */
  readonly onSessionOpen: () => void;
  /** A session that had logged in has ended, and the pool did not end it. */
  readonly onSessionLost: (reason: Error) => void;
}

/** A caller that needs a session. */
interface Waiter {
  isCancelled(): boolean;
  take(session: Session): void;
  refuse(error: Error): void;
}

const maxSweepIntervalMs = 1_000;

/**
 * Sessions that are opened on demand and used by one caller at a time. The caller that has waited longest gets the next
 * free session; a statement that has not been sent is unaffected by the end of a session.
 */
export class Pool {
  readonly sql: Sql;

  readonly #options: PoolOptions;
  readonly #session: SessionOptions;
  readonly #factory: StatementFactory;
  readonly #stop = new AbortController();
  readonly #sessions = new Set<Session>();
  /** The one used last is at the end. */
  readonly #idle: Session[] = [];
  readonly #opening = new Set<Waiter>();
  #waiting: Waiter[] = [];
  readonly #listener: Listener;
  #sweeper: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;
  #onDrained = () => {};

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#session = { ...options.session, signal: this.#stop.signal };
    this.#factory = options.session.factory;
    this.#listener = new Listener(this.#session);
    this.sql = Object.assign(makeStatements(this.#factory, this.#send), {
      options: this.#factory.options,
      parameters: this.#factory.parameters,
      begin: this.#begin,
      reserve: this.#reserve,
      listen: this.#listener.listen,
      end: ({ timeout = Number.POSITIVE_INFINITY }: { readonly timeout?: number } = {}) => this.end(timeout * 1000),
    }) as Sql;
  }

  /**
   * Refuses statements from now on, waits for those in flight, and closes all sessions.
   *
   * @param timeoutMs after which the sessions are ended all the same
   */
  async end(timeoutMs: number): Promise<void> {
    this.#ended ??= this.#end();
    const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => this.destroy(), timeoutMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Ends all sessions at once, and rejects what waits or has not been answered. */
  destroy(): void {
    this.#ended ??= this.#end();
    const reason = destroyed(this.#session.target);
    this.#stop.abort();
    for (const waiter of [...this.#waiting.splice(0), ...this.#opening]) waiter.refuse(reason);
    for (const session of [...this.#sessions]) session.discard(reason);
  }

  async #end(): Promise<void> {
    const drained = Promise.withResolvers<void>();
    this.#onDrained = drained.resolve;
    for (const session of this.#idle.splice(0)) this.#close(session);
    await this.#listener.close();
    this.#noteDrained();
    await drained.promise;
    clearInterval(this.#sweeper);
  }

  #noteDrained(): void {
    if (this.#sessions.size + this.#opening.size + this.#waiting.length === 0) this.#onDrained();
  }

  readonly #send = (statement: Statement): void => {
    this.#request({
      isCancelled: () => Boolean(statement.cancelled),
      take: (session) => {
        session.isShared = true;
        session.isReturned = true;
        session.send(statement);
      },
      refuse: (error) => statement.reject(error),
    });
  };

  #acquire(): Promise<Session> {
    return new Promise((resolve, reject) => {
      const take = (session: Session) => {
        session.isShared = false;
        session.isReturned = false;
        resolve(session);
      };
      this.#request({ isCancelled: () => false, take, refuse: reject });
    });
  }

  readonly #begin = async <Result>(...given: readonly unknown[]): Promise<Settled<Result>> => {
    const mode = given.length > 1 ? (given[0] as string) : "";
    const work = given.at(-1) as (tx: Transaction) => Result;
    const session = await this.#acquire();
    try {
      return await transact(session, this.#factory, mode, work);
    } finally {
      this.#return(session);
    }
  };

  readonly #reserve = async (): Promise<Reservation> => {
    const session = await this.#acquire();
    // Logs in, so that a server that refuses it is noticed now.
    if (!session.isOpen) await session.run("");
    const scope = new Scope(session, "reservation");
    const release = () => {
      if (scope.isOver) return;
      scope.end();
      this.#return(session);
    };
    return Object.assign(makeStatements(this.#factory, scope.send), { release }) as Reservation;
  };

  #request(waiter: Waiter): void {
    // A session that it took would never come back.
    if (waiter.isCancelled()) return;
    const session = this.#idle.pop();
    if (this.#ended !== undefined) waiter.refuse(connectionError("CONNECTION_ENDED", this.#session.target));
    else if (session !== undefined) {
      session.ref();
      waiter.take(session);
    } else {
      this.#waiting.push(waiter);
      this.#fill();
    }
  }

  /** Opens a session for each waiter, as long as there is room. */
  #fill(): void {
    while (this.#waiting.length > 0 && this.#sessions.size + this.#opening.size < this.#options.max) {
      const waiter = this.#waiting.shift();
      if (waiter !== undefined && !waiter.isCancelled()) void this.#openFor(waiter);
    }
  }

  async #openFor(waiter: Waiter): Promise<void> {
    this.#opening.add(waiter);
    try {
      const session = await Session.open(this.#session, this.#events);
      this.#opening.delete(waiter);
      this.#add(session, waiter);
    } catch (error) {
      this.#opening.delete(waiter);
      waiter.refuse(error as Error);
      this.#noteFailure(error as Error);
    }
  }

  #add(session: Session, waiter: Waiter): void {
    this.#sessions.add(session);
    this.#sweeper ??= setInterval(
      () => this.#sweep(),
      Math.min(maxSweepIntervalMs, this.#options.idleTimeoutMs),
    ).unref();
    if (waiter.isCancelled() || this.#stop.signal.aborted) session.discard(destroyed(this.#session.target));
    else waiter.take(session);
  }

  /** No session could be opened. If there is no other, rejects all waiters, since nothing would serve them. */
  #noteFailure(reason: Error): void {
    if (this.#sessions.size + this.#opening.size > 0) this.#fill();
    else for (const waiter of this.#waiting.splice(0)) waiter.refuse(reason);
    this.#noteDrained();
  }

  readonly #events: SessionEvents = {
    onOpen: () => this.#options.onSessionOpen(),
    onIdle: (session) => {
      if (session.isReturned) this.#return(session);
    },
    onLost: (session, reason) => this.#noteLost(session, reason),
  };

  /** Passes a session to the next waiter once its statements are answered. One left in a transaction is ended. */
  #return(session: Session): void {
    session.isReturned = true;
    if (session.reason !== undefined || !session.isIdle) return;
    if (session.isInTransaction) session.discard(destroyed(this.#session.target));
    else if (this.#isOld(session)) this.#close(session);
    else this.#passOn(session);
  }

  #passOn(session: Session): void {
    let waiter = this.#waiting.shift();
    while (waiter?.isCancelled()) waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter.take(session);
    else if (this.#ended !== undefined) this.#close(session);
    else {
      session.idleSince = performance.now();
      session.unref();
      this.#idle.push(session);
    }
  }

  #isOld(session: Session): boolean {
    return performance.now() - session.openedAt > this.#options.maxLifetimeMs;
  }

  #sweep(): void {
    const now = performance.now();
    const isExpired = (session: Session) =>
      now - session.idleSince > this.#options.idleTimeoutMs || this.#isOld(session);
    for (const session of this.#idle.filter(isExpired)) this.#close(session);
  }

  #close(session: Session): void {
    session.isDiscarded = true;
    this.#removeIdle(session);
    void session.close();
  }

  #noteLost(session: Session, reason: Error): void {
    this.#sessions.delete(session);
    this.#removeIdle(session);
    if (session.isOpen && !session.isDiscarded) this.#options.onSessionLost(reason);
    if (session.isOpen || session.isDiscarded) this.#fill();
    else this.#noteFailure(reason);
    this.#noteDrained();
  }

  #removeIdle(session: Session): void {
    const index = this.#idle.indexOf(session);
    if (index >= 0) this.#idle.splice(index, 1);
  }
}

function destroyed(target: ConnectionTarget): Error {
  return connectionError("CONNECTION_DESTROYED", target);
}
