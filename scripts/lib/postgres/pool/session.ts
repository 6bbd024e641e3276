import {
  isStalled,
  noteStream,
  type OnNotify,
  openDriver,
  rejectStatement,
  type Statement,
  type StatementFactory,
  statementOf,
} from "../driver.ts";
import type { Credentials } from "../target.ts";
import { protocolError } from "./connection-error.ts";
import { type ReachOptions, withinLimits } from "./reach.ts";
import { Wire } from "./wire.ts";

/** How to open a session. */
export interface SessionOptions extends ReachOptions {
  readonly factory: StatementFactory;
  readonly credentials: () => Credentials | Promise<Credentials>;
  readonly onNotify?: OnNotify;
}

/** What the owner of a session learns. */
export interface SessionEvents {
  /** The login is complete. */
  onOpen(session: Session): void;
  /** Every statement has been answered. */
  onIdle(session: Session): void;
  /** It has ended. */
  onLost(session: Session, reason: Error): void;
}

/** As many as the driver pipelines by default. */
const maxInFlight = 100;
/** Between two requests to cancel the same statement. */
const [minCancelPauseMs, maxCancelPauseMs] = [20, 1_000];

/**
 * One session of the server. When it ends, for whatever reason, every statement that was sent and not answered is
 * rejected with the reason, and so is every later one. It never reconnects.
 */
export class Session {
  /** Whether it runs single statements of several callers: none may leave it in a transaction. */
  isShared = true;
  /** Whether it returns to the pool as soon as it is idle. */
  isReturned = true;
  /** Whether its owner has ended it. */
  isDiscarded = false;
  /** Milliseconds on the clock of `performance.now()`. */
  idleSince = 0;
  readonly openedAt = performance.now();

  readonly #wire: Wire;
  readonly #options: SessionOptions;
  readonly #events: SessionEvents;
  readonly #send: (statement: Statement) => void;
  /** Statements that were sent, in the order in which the server answers. */
  readonly #inFlight: Statement[] = [];
  /** Statements that wait until those in flight are answered. */
  readonly #held: Statement[] = [];
  /** The last statement in flight must be answered before another is sent. */
  #isBlocked = false;
  #unsent: Statement | undefined;
  #status = "I";
  #isOpen = false;
  #reason: Error | undefined;
  #cancelling: Promise<void> | undefined;
  readonly #onEnd = new Set<() => void>();
  #toCancel: Statement | undefined;
  #onAnswered = () => {};

  private constructor(options: SessionOptions, wire: Wire, credentials: Credentials, events: SessionEvents) {
    this.#options = options;
    this.#wire = wire;
    this.#events = events;
    this.#send = openDriver(options.factory, wire, credentials, options.onNotify ?? (() => {}));
    wire.listener = {
      onStatus: (status) => this.#noteStatus(status),
      onReady: (count) => this.#noteReady(count),
      onCopy: (answered) => {
        if (!this.#inFlight[answered]?.streaming) this.discard(copyWithoutStream());
      },
      copyStream: (answered) => this.#inFlight[answered]?.copyStream,
      onLost: (reason) => this.#lose(reason),
    };
  }

  /** Connects. The login follows with the first statement. */
  static async open(options: SessionOptions, events: SessionEvents): Promise<Session> {
    const credentials = await withinLimits(options, Promise.resolve(options.credentials()));
    const wire = await Wire.connect(options, credentials.requireScram);
    return new Session(options, wire, credentials, events);
  }

  /** Why it has ended; undefined while it has not. */
  get reason(): Error | undefined {
    return this.#reason;
  }

  /**
   * Calls back once when the session has ended.
   *
   * @returns a function that takes the request back
   */
  onEnd(call: () => void): () => void {
    this.#onEnd.add(call);
    return () => void this.#onEnd.delete(call);
  }

  /** Whether the login is complete. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  get isInTransaction(): boolean {
    return this.#status !== "I";
  }

  get isIdle(): boolean {
    return this.#inFlight.length === 0 && this.#held.length === 0 && this.#cancelling === undefined;
  }

  /** Whether a COPY waits for a caller that has left it; nothing else can run before it has ended. */
  get isStalled(): boolean {
    return this.#inFlight.some(isStalled);
  }

  /** Sends a statement, behind those in flight. */
  readonly send = (statement: Statement): void => {
    if (statement.cancelled) return;
    if (this.#reason !== undefined) rejectStatement(statement, this.#reason);
    else {
      statement.canceller = this.#cancel;
      if (this.#held.length === 0 && this.#canSend()) this.#dispatch(statement);
      else this.#held.push(statement);
    }
  };

  /** Runs a command of our own. */
  async run(command: string): Promise<{ readonly command: string }> {
    const statement = statementOf(this.#options.factory.unsafe(command));
    statement.handler = this.send;
    return (await statement) as { readonly command: string };
  }

  /** Lets the process end while the session is idle. */
  unref(): void {
    this.#wire.unref();
  }

  ref(): void {
    this.#wire.ref();
  }

  /** Ends an idle session. */
  async close(): Promise<void> {
    await this.#wire.close();
  }

  /** Ends the session at once, for a reason that is not the server's. The server rolls its transaction back. */
  discard(reason: Error): void {
    this.isDiscarded = true;
    this.#wire.destroy(reason);
  }

  #sendHeld(): void {
    while (this.#held.length > 0 && this.#canSend()) this.#dispatch(this.#held.shift() as Statement);
  }

  /**
   * Statements are pipelined in a transaction only, where nothing succeeds behind one that fails. Elsewhere the driver
   * would add the rows of the next result to those of the one that failed midway.
   */
  #canSend(): boolean {
    if (this.#isBlocked || this.#cancelling !== undefined) return false;
    const count = this.#inFlight.length;
    return count === 0 || (this.isInTransaction && count < maxInFlight);
  }

  #dispatch(statement: Statement): void {
    const [head] = this.#inFlight;
    this.#inFlight.push(statement);
    if (statement.streaming) noteStream(statement, () => this.#abandonCopy(statement));
    if (head === undefined) this.#send(statement);
    else this.#sendBehind(head, statement);
    // The driver would queue what follows these, and an error of it could not be attributed.
    const { describeFirst, cursorFn, streaming } = statement;
    if (describeFirst || cursorFn !== undefined || streaming) this.#isBlocked = true;
  }

  /** A stream that the driver has destroyed belongs to a COPY that was answered. */
  #abandonCopy(statement: Statement): void {
    if (this.#inFlight.includes(statement)) this.discard(copyAbandoned());
  }

  /**
   * If a statement cannot be serialised, the driver rejects the first one in flight instead, and expects an answer to
   * the one it has not sent. So the error is passed on to the right one, and the answer is requested later.
   */
  #sendBehind(head: Statement, statement: Statement): void {
    const { reject } = head;
    head.reject = (error) => {
      this.#unsent = statement;
      statement.reject(error);
    };
    this.#send(statement);
    head.reject = reject;
    if (this.#unsent !== undefined) this.#isBlocked = true;
  }

  /** The driver resolves the statement after this, so its `resolve` is replaced in time. */
  #noteStatus(status: string): void {
    this.#status = status;
    const [statement, next] = this.#inFlight;
    // It was sent when the transaction seemed to be open, and the driver would add its rows to those that have failed.
    if (status === "I" && next !== undefined && this.#wire.hasOpenRows) return void this.discard(pipelined());
    if (status === "I" || !this.isShared || statement === undefined) return;
    const { reject } = statement;
    statement.resolve = () => reject(unsafeTransaction());
  }

  #noteReady(count: number): void {
    let answered = count;
    if (!this.#isOpen) {
      // The login is complete, and the driver has sent the first statement.
      this.#isOpen = true;
      this.#events.onOpen(this);
      answered--;
    }
    // A pooler or server that answers too often must not return the session twice, or give a statement another's result.
    if (answered > this.#inFlight.length) this.#wire.destroy(protocolError(this.#options.target));
    else {
      for (; answered > 0; answered--) this.#takeAnswered();
      this.#proceed();
    }
  }

  #takeAnswered(): void {
    const statement = this.#inFlight.shift();
    this.#onAnswered();
    if (statement?.retried === undefined || statement.isRepeated) return;
    statement.isRepeated = true;
    this.#inFlight.push(statement);
    // It may have to be described first, as in #dispatch.
    this.#isBlocked = true;
  }

  #proceed(): void {
    const [head] = this.#inFlight;
    if (head === undefined) this.#settle();
    else {
      if (head === this.#unsent) {
        this.#unsent = undefined;
        this.#wire.write(sync);
      } else if (head === this.#toCancel) this.#cancelHead();
      this.#sendHeld();
    }
  }

  /** Nothing is in flight. */
  #settle(): void {
    this.#isBlocked = false;
    if (this.#cancelling !== undefined) return;
    if (this.#wire.hasOpenRows && !this.isInTransaction) this.#dispatch(this.#countReset());
    else if (this.#held.length > 0) this.#sendHeld();
    else this.#events.onIdle(this);
  }

  /** The driver counts the rows of a result from where the last one failed, until a statement succeeds. */
  #countReset(): Statement {
    const statement = statementOf(this.#options.factory.unsafe("select where false"));
    statement.handler = () => {};
    statement.catch(() => {});
    return statement;
  }

  readonly #cancel = (statement: Statement): Promise<void> | undefined => {
    const index = this.#held.indexOf(statement);
    if (index >= 0) {
      this.#held.splice(index, 1);
      statement.reject(cancelled());
    } else if (!this.#isOpen) this.discard(cancelled());
    else if (this.#inFlight[0] === statement) return this.#cancelHead();
    else if (this.#inFlight.includes(statement)) this.#toCancel = statement;
    return undefined;
  };

  /** Nothing else is sent meanwhile, since the request would cancel whatever the session is running when it arrives. */
  #cancelHead(): Promise<void> | undefined {
    const { key } = this.#wire;
    if (key === undefined || this.#cancelling !== undefined) return this.#cancelling;
    this.#toCancel = undefined;
    this.#cancelling = this.#cancelUntilAnswered(this.#inFlight[0], key).finally(() => {
      this.#cancelling = undefined;
      if (this.#reason === undefined) this.#proceed();
    });
    return this.#cancelling;
  }

  /** The server ignores a request that overtakes its statement, so it is repeated. */
  async #cancelUntilAnswered(statement: Statement | undefined, key: Buffer): Promise<void> {
    const isInFlight = () => this.#inFlight[0] === statement;
    for (let pauseMs = minCancelPauseMs; isInFlight(); pauseMs = Math.min(2 * pauseMs, maxCancelPauseMs)) {
      await Wire.cancel(this.#options, key).catch(() => {});
      if (isInFlight()) await this.#answeredWithin(pauseMs);
    }
  }

  /** Settles when the first statement in flight is answered, the session has ended, or the time is over. */
  async #answeredWithin(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#onAnswered = resolve;
    await promise;
    clearTimeout(timer);
  }

  #lose(reason: Error): void {
    this.#reason = reason;
    for (const statement of [...this.#inFlight.splice(0), ...this.#held.splice(0)]) rejectStatement(statement, reason);
    this.#onAnswered();
    this.#events.onLost(this, reason);
    for (const call of this.#onEnd) call();
  }
}

const sync = Buffer.from([0x53, 0, 0, 0, 4]);

function unsafeTransaction(): Error {
  const message = "a statement began a transaction outside begin() and reserve(); use one of them";
  return Object.assign(new Error(message), { code: "UNSAFE_TRANSACTION" });
}

function pipelined(): Error {
  const message = "a statement failed after the end of its transaction, and others had been sent behind it";
  return Object.assign(new Error(message), { code: "UNSAFE_TRANSACTION" });
}

function copyWithoutStream(): Error {
  const message = "a COPY from stdin or to stdout needs .writable() or .readable()";
  return Object.assign(new Error(message), { code: "COPY_WITHOUT_STREAM" });
}

/** The caller of a COPY has left it, and the session can do nothing else before it has ended. */
export function copyAbandoned(): Error {
  const message = "a COPY was left before its stream had ended, so its session was ended";
  return Object.assign(new Error(message), { code: "COPY_ABANDONED" });
}

function cancelled(): Error {
  return Object.assign(new Error("the statement was cancelled before it was sent"), { code: "57014" });
}
