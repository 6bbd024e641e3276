import { readFile } from "node:fs/promises";
import {
  isStatement,
  type Settled,
  type Statement,
  type StatementFactory,
  type Statements,
  statementOf,
  type Transaction,
  type TransactionState,
} from "../driver.ts";
import { errorCode } from "../failure.ts";
import { quoteIdentifier } from "../quote.ts";
import { copyAbandoned, type Session } from "./session.ts";

type Call = (...given: readonly unknown[]) => unknown;

/** @returns a function that makes statements which `send` sends */
export function makeStatements(factory: StatementFactory, send: (statement: Statement) => void): Statements {
  const admit = (made: unknown) => {
    if (isStatement(made)) made.handler = send;
    return made;
  };
  const { unsafe, file } = factory as unknown as { readonly unsafe: Call; readonly file: Call };
  const sql = (...given: readonly unknown[]) => admit((factory as unknown as Call)(...given));
  const { types, typed, array, json } = factory;
  return Object.assign(sql, {
    types,
    typed,
    array,
    json,
    unsafe: (...given: readonly unknown[]) => admit(unsafe(...given)),
    file: (...given: readonly unknown[]) => {
      const statement = file(...given) as Statement;
      statement.handler = () => void sendFile(statement, given[0] as string, send);
      return statement;
    },
    notify: (channel: string, payload: string) => admit(unsafe("select pg_notify($1, $2)", [channel, payload])),
  }) as unknown as Statements;
}

async function sendFile(statement: Statement, path: string, send: (statement: Statement) => void): Promise<void> {
  try {
    statement.strings = [await readFile(path, "utf8")];
    send(statement);
  } catch (error) {
    statement.reject(error);
  }
}

/** What a scope has in common with others. */
interface ScopeOptions {
  /** Collects the errors of its statements. */
  readonly errors?: unknown[];
  /** Ends this scope with it. */
  readonly outer?: Scope;
}

/**
 * A part of a session's time that belongs to one caller. Statements are refused when they are sent, rather than when
 * they are made: once the scope is over, or once the session has ended.
 */
export class Scope {
  readonly #session: Session;
  readonly #name: string;
  readonly #errors: unknown[];
  readonly #outer: Scope | undefined;
  #isOver = false;
  #firstFailure: { readonly error: unknown } | undefined;

  constructor(
    session: Session,
    name: "transaction" | "savepoint" | "reservation",
    { errors = [], outer }: ScopeOptions = {},
  ) {
    this.#session = session;
    this.#name = name;
    this.#errors = errors;
    this.#outer = outer;
  }

  get isOver(): boolean {
    return this.#isOver || this.#outer?.isOver === true;
  }

  end(): void {
    this.#isOver = true;
  }

  /** The error of the first statement that failed, even if the caller has handled it. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#firstFailure;
  }

  readonly send = (statement: Statement): void => {
    if (this.isOver) {
      statement.reject(scopeOver(this.#name));
      return;
    }
    statement.catch((error: unknown) => {
      this.#firstFailure ??= { error };
      this.#errors.push(error);
    });
    this.#session.send(statement);
  };

  /** Runs the caller's work, and ends the scope. */
  async perform<Result>(work: () => Result): Promise<Settled<Result>> {
    try {
      const made: unknown = work();
      const result = (await (Array.isArray(made) ? Promise.all(made) : made)) as Settled<Result>;
      if (this.#session.reason !== undefined) throw this.#session.reason;
      if (this.#firstFailure !== undefined) throw this.#firstFailure.error;
      return result;
    } catch (error) {
      // The statements that follow a failed one fail because of it.
      if (errorCode(error) === "25P02" && this.#firstFailure !== undefined) throw this.#firstFailure.error;
      throw error;
    } finally {
      this.#isOver = true;
    }
  }
}

/** Runs work in a transaction of a session. */
export async function transact<Result>(
  session: Session,
  factory: StatementFactory,
  mode: string,
  work: (tx: Transaction) => Result,
): Promise<Settled<Result>> {
  await session.run(`begin ${mode.replace(/[^a-z ]/gi, "")}`);
  const transaction = new SessionTransaction(session, factory);
  const scope = new Scope(session, "transaction", { errors: transaction.errors });
  let result: Settled<Result>;
  try {
    result = await scope.perform(() => work(transaction.begin(scope)));
    if (session.isStalled) throw copyAbandoned();
    if (transaction.hasOpenSavepoint) throw savepointLeft();
  } catch (error) {
    if (session.isStalled) session.discard(copyAbandoned());
    // If the rollback fails, the session has ended, and with it the transaction.
    await session.run("rollback").catch(() => {});
    throw error;
  }
  const { command } = await session.run("commit");
  if (command !== "COMMIT") throw scope.failure?.error ?? rolledBack();
  return result;
}

/** Where a transaction keeps what is known about it. */
const stateKey = Symbol("state");

/** @returns what is known about a transaction that a pool has passed to its caller */
export function stateOf(transaction: object): TransactionState {
  const state = (transaction as { readonly [stateKey]?: TransactionState })[stateKey];
  if (state === undefined) throw new TypeError("this is not a transaction");
  return state;
}

/** What the savepoints of a transaction have in common. */
class SessionTransaction implements TransactionState {
  readonly #session: Session;
  readonly #factory: StatementFactory;
  /** The errors of its statements, including those in savepoints. */
  readonly errors: unknown[] = [];
  #scope: Scope | undefined;
  #savepoints = 0;
  #openSavepoints = 0;

  constructor(session: Session, factory: StatementFactory) {
    this.#session = session;
    this.#factory = factory;
  }

  get loss(): Error | undefined {
    return this.#session.reason;
  }

  get isOpen(): boolean {
    return this.#session.isInTransaction;
  }

  get failure(): { readonly error: unknown } | undefined {
    return this.#scope?.failure;
  }

  get hasOpenSavepoint(): boolean {
    return this.#openSavepoints > 0;
  }

  isOwnError(error: unknown): boolean {
    return this.errors.includes(error);
  }

  onLoss(call: () => void): () => void {
    return this.#session.onEnd(call);
  }

  begin(scope: Scope): Transaction {
    this.#scope = scope;
    return this.open(scope);
  }

  open(scope: Scope): Transaction {
    const savepoint = <Result>(...given: readonly unknown[]) => {
      const name = given.length > 1 ? (given[0] as string) : "";
      return this.#savepoint(scope, name, given.at(-1) as (tx: Transaction) => Result);
    };
    return Object.assign(makeStatements(this.#factory, scope.send), { savepoint, [stateKey]: this }) as Transaction;
  }

  async #savepoint<Result>(outer: Scope, name: string, work: (tx: Transaction) => Result): Promise<Settled<Result>> {
    const identifier = quoteIdentifier(`s${this.#savepoints++}_${name}`);
    const run = (command: string) => {
      const statement = statementOf(this.#factory.unsafe(`${command} ${identifier}`));
      statement.handler = outer.send;
      return statement;
    };
    this.#openSavepoints++;
    try {
      await run("savepoint");
      const scope = new Scope(this.#session, "savepoint", { errors: this.errors, outer });
      return await scope
        .perform(() => work(this.open(scope)))
        .catch(async (error: unknown) => {
          // If the rollback fails, the session has ended, or so has the transaction around it.
          await run("rollback to").catch(() => {});
          throw error;
        });
    } finally {
      this.#openSavepoints--;
    }
  }
}

function scopeOver(name: string): Error {
  const message = `a statement was sent after its ${name} had ended; it was not run`;
  return Object.assign(new Error(message), { code: "TRANSACTION_OVER" });
}

function savepointLeft(): Error {
  const message =
    "the work ended before one of its savepoints, so the transaction was rolled back; await the savepoint";
  return Object.assign(new Error(message), { code: "UNSAFE_TRANSACTION" });
}

function rolledBack(): Error {
  const message = "the transaction was rolled back, because one of its statements had failed";
  return Object.assign(new Error(message), { code: "25P02" });
}
