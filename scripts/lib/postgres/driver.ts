// All uses of the internals of postgres.js, which are tied to one version. A driver instance is one session: it logs in
// with its first statement, runs statements in order, and is discarded with the session (decision 0013).
import type { Readable, Writable } from "node:stream";
import postgres from "postgres";
import type { ConnectionTarget, Credentials } from "./target.ts";

/** The version of postgres.js that this file is written for; a test compares it with the installed one. */
export const driverVersion = "3.4.9";

/** Makes statements and their parts; int8 columns are read as `bigint`. */
export type Statements = postgres.ISql<{ bigint: bigint }>;

/** A transaction, whose statements are refused once it is over or its session has ended. */
export interface Transaction extends Statements {
  /** Runs work in a savepoint: if it rejects, only its own changes are rolled back. */
  savepoint<Result>(work: (tx: Transaction) => Result): Promise<Settled<Result>>;
  savepoint<Result>(name: string, work: (tx: Transaction) => Result): Promise<Settled<Result>>;
}

/** What is known about a transaction, to tell its own failures from others. */
export interface TransactionState {
  /** Why its session has ended; undefined while it has not. */
  readonly loss: Error | undefined;
  /** Whether the session is in a transaction, even if it is no longer the same one. */
  readonly isOpen: boolean;
  /** The error of the first statement outside a savepoint that failed. The transaction cannot commit after that. */
  readonly failure: { readonly error: unknown } | undefined;
  /** Whether a statement of this transaction has failed with this error. */
  isOwnError(error: unknown): boolean;
  /**
   * Calls back when its session ends.
   *
   * @returns a function that takes the request back
   */
  onLoss(call: () => void): () => void;
}

/** A session for one caller, until it is released. */
export interface Reservation extends Statements {
  release(): void;
}

/** A pool of sessions. */
export interface Sql extends Statements {
  readonly options: postgres.ParsedOptions<{ bigint: bigint }>;
  /** Settings that the server reports, such as its version. */
  readonly parameters: postgres.ConnectionParameters;
  /**
   * Runs work in a transaction: commits if it resolves, rolls back if it rejects. If the session ends meanwhile, it
   * rejects as soon as the work has settled.
   *
   * @param mode options of `BEGIN`, such as `read only`
   */
  begin<Result>(work: (tx: Transaction) => Result): Promise<Settled<Result>>;
  begin<Result>(mode: string, work: (tx: Transaction) => Result): Promise<Settled<Result>>;
  reserve(): Promise<Reservation>;
  /** Listens to a channel, and again after a lost connection. `onListen` is called each time listening has started. */
  listen(channel: string, onNotify: (payload: string) => void, onListen?: () => void): Promise<Subscription>;
  /**
   * Refuses further statements, waits for those in flight, and closes the sessions.
   *
   * @param options.timeout seconds after which they are closed anyway; by default, no limit
   */
  end(options?: { readonly timeout?: number }): Promise<void>;
}

/** A channel that is listened to. */
export interface Subscription {
  unlisten(): Promise<void>;
}

/** What the work of a transaction resolves to; of an array, the elements are awaited. */
export type Settled<Result> = Result extends readonly unknown[]
  ? { [Key in keyof Result]: Awaited<Result[Key]> }
  : Awaited<Result>;

/** The driver's record of a statement, which is sent once it is awaited. */
export interface Statement extends Promise<unknown> {
  /** Called once, to send it. */
  handler: (statement: Statement) => void;
  /** Called by `cancel()`. */
  canceller: ((statement: Statement) => unknown) | null;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  execute(): Statement;
  /** Whether the iterator of a cursor has more to read. */
  active: boolean;
  cancelled: unknown;
  cursorFn?: unknown;
  /** Whether the driver must wait for the types of its parameters. */
  describeFirst?: boolean;
  /** The error for which the driver sends it a second time. */
  retried?: unknown;
  /** It has been sent a second time. */
  isRepeated?: boolean;
  /** Whether it is a COPY, whose first result is a stream. */
  streaming?: boolean;
  copyStream?: Readable & Writable;
  /** The text; that of a file is read before it is sent. */
  strings: readonly string[];
}

/** Makes statements. It never connects: each session has an instance of its own, which shares its types. */
export type StatementFactory = Statements & Pick<Sql, "options" | "parameters">;

/** What all sessions of a pool have in common. */
export interface DriverOptions {
  /** Parameters of the start-up message. */
  readonly connection: Readonly<Record<string, string>>;
  readonly prepare: boolean;
  readonly onNotice: (text: string) => void;
}

/**
 * @param target all of it is passed to the driver, which would read what is missing from the PG* variables: the
 * environment must not choose the server
 */
export function makeStatementFactory(target: ConnectionTarget, options: DriverOptions): StatementFactory {
  return postgres({
    host: target.host,
    port: target.port,
    database: target.database,
    username: target.user,
    password: () => "",
    // The wire does all of this.
    ssl: false,
    connect_timeout: 0,
    idle_timeout: 0,
    max_lifetime: 0,
    keep_alive: 0,
    max: 1,
    prepare: options.prepare,
    fetch_types: false,
    onnotice: (notice) => options.onNotice(`${notice["severity"]}: ${notice["message"]}`),
    types: { bigint: postgres.BigInt },
    connection: options.connection,
  }) as unknown as StatementFactory;
}

/** Receives the notifications of the channels that a session listens to. */
export type OnNotify = (channel: string, payload: string) => void;

/** @returns the function that sends a statement through the wire; the driver calls it the statement's handler */
export function openDriver(
  factory: StatementFactory,
  wire: object,
  credentials: Credentials,
  onNotify: OnNotify,
): (statement: Statement) => void {
  const instance = (postgres as unknown as (options: object) => StatementFactory)({
    // The driver takes options that it has parsed before as they are.
    ...factory.options,
    user: credentials.user,
    // A function, because the driver replaces an empty string with PGPASSWORD.
    pass: () => credentials.password,
    socket: () => wire,
    onnotify: onNotify,
  });
  return statementOf(instance.unsafe("")).handler;
}

/** @returns what the driver knows about a statement */
export function statementOf(pending: unknown): Statement {
  return pending as Statement;
}

/** Whether something that a factory made is a statement, rather than a part of one. */
export function isStatement(made: unknown): made is Statement {
  return made instanceof Promise;
}

/**
 * Rejects a statement whose session has ended. A cursor between two pages would report that it has read everything, so
 * its next page is rejected instead.
 */
export function rejectStatement(statement: Statement, reason: Error): void {
  statement.copyStream?.destroy(reason);
  statement.reject(reason);
  if (statement.cursorFn === undefined) return;
  statement.active = true;
  statement.execute = () => {
    statement.reject(reason);
    return statement;
  };
}

/**
 * Notes the stream of a COPY, so that it ends with the session. It gets a listener for errors, without which an error
 * would end the process.
 *
 * @param onAbandon called if the reader of a COPY TO has stopped early; the driver would stop reading from the socket
 */
export function noteStream(statement: Statement, onAbandon: () => void): void {
  const { resolve } = statement;
  statement.resolve = (result) => {
    const stream = result as Readable & Writable;
    if (typeof stream.pipe === "function") {
      statement.copyStream = stream.on("error", () => {});
      if (typeof stream.read === "function") stream.on("close", () => stream.readableEnded || onAbandon());
    }
    resolve(result);
  };
}

/** Whether nobody reads the stream of a COPY any more, or writes to it, although it has not ended. */
export function isStalled({ copyStream }: Statement): boolean {
  if (copyStream === undefined) return false;
  return typeof copyStream.read === "function" ? copyStream.readableFlowing !== true : !copyStream.writableEnded;
}

/**
 * Settles when a COPY has ended on the wire. The driver settles its own promise as soon as the stream exists, and drops
 * what comes later: rejected rows (its issue 1173), a lost session, the number of rows. For an empty table all of that
 * arrives together, so this must be called before the statement is sent.
 *
 * @returns the number of rows
 */
export function copyEnd(pending: unknown): Promise<number> {
  const statement = statementOf(pending);
  const { resolve: begin, reject: refuse } = statement;
  const ended = Promise.withResolvers<number>();
  let hasBegun = false;
  statement.resolve = (result) => {
    if (hasBegun) ended.resolve((result as { readonly count: number | null }).count ?? 0);
    else begin(result);
    hasBegun = true;
  };
  statement.reject = (error) => {
    refuse(error);
    ended.reject(error);
  };
  ended.promise.catch(() => {});
  return ended.promise;
}

/** Cancels a COPY TO whose stream is no longer read, so that the session can be used again. */
export async function abandonCopy(pending: unknown, readable: Readable, ended: Promise<number>): Promise<void> {
  const statement = statementOf(pending);
  statement.canceller?.(statement);
  readable.resume();
  await ended.catch(() => {});
  // The last rows may have paused the socket, and a failed stream does not resume it.
  resumeSocket(readable);
}

/**
 * Resumes the socket behind a COPY TO. The driver pauses it if the last rows arrive faster than they are read, and
 * never resumes it (its issues 499 and 917).
 */
export function resumeSocket(readable: Readable): void {
  readable._read(0);
}
