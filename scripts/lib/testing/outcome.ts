import { AssertionError, deepStrictEqual } from "node:assert";
import { describeValue } from "../event-store/check-options.ts";
import { describeError } from "../event-store/describe-error.ts";
import { InvalidInput } from "../event-store/errors.ts";
import type { DomainEvent, NewEvent, RecordedEvent } from "../event-store/event.ts";

/** What a decision led to. */
export type Decided<State> =
  | { readonly isRefused: false; readonly events: readonly RecordedEvent[]; readonly state: State }
  | { readonly isRefused: true; readonly error: unknown };

/** A class of errors, or what the message must match. */
export type Refusal = RegExp | (abstract new (...parameters: never[]) => Error);

/** @returns events as the store would return them */
export type RecordAll<Event extends DomainEvent> = (events: readonly NewEvent<Event>[]) => readonly RecordedEvent[];

/** The outcome of a decision. Its methods throw an `AssertionError` with the difference. */
export class Outcome<State, Event extends DomainEvent> {
  readonly #decided: Decided<State>;
  readonly #record: RecordAll<Event>;

  /** @internal */
  constructor(decided: Decided<State>, record: RecordAll<Event>) {
    this.#decided = decided;
    this.#record = record;
  }

  /**
   * Asserts which events the decision returned; none if nothing was to change. Compares their types, data and versions,
   * and of ids and metadata those that the expected event has.
   */
  thenEvents(...expected: readonly NewEvent<Event>[]): this {
    const { events } = this.#accepted();
    const recorded = this.#record(expected);
    const pick = (list: readonly RecordedEvent[]) => list.map((event, index) => pickFields(event, expected[index]));
    deepStrictEqual(pick(events), pick(recorded));
    return this;
  }

  /** Asserts the state after the events of the decision. */
  thenState(expected: State): this {
    deepStrictEqual(this.#accepted().state, expected);
    return this;
  }

  /** Asserts that the decision threw an error of a class, or with a message. */
  thenRefused(expected: Refusal): this {
    const matches = refusalTest(expected);
    if (!this.#decided.isRefused) {
      const types = this.#decided.events.map(({ type }) => type).join(", ") || "no event";
      throw new AssertionError({ message: `the decision returned ${types}, but it should have thrown`, expected });
    }
    const { error } = this.#decided;
    if (matches(error)) return this;
    throw failed(`the decision threw ${describeError(error)}, not ${describeRefusal(expected)}`, error, expected);
  }

  #accepted(): Decided<State> & { readonly isRefused: false } {
    if (!this.#decided.isRefused) return this.#decided;
    const { error } = this.#decided;
    throw failed(`the decision threw ${describeError(error)}`, error, undefined);
  }
}

/** The outcome of a decision that is asynchronous. Await its methods. */
export class AsyncOutcome<State, Event extends DomainEvent> {
  readonly #outcome: Promise<Outcome<State, Event>>;

  /** @internal */
  constructor(outcome: Promise<Outcome<State, Event>>) {
    this.#outcome = outcome;
    // The caller hears of a failure from the method that it calls.
    outcome.catch(() => undefined);
  }

  /** See {@link Outcome.thenEvents}. */
  async thenEvents(...expected: readonly NewEvent<Event>[]): Promise<void> {
    (await this.#outcome).thenEvents(...expected);
  }

  /** See {@link Outcome.thenState}. */
  async thenState(expected: State): Promise<void> {
    (await this.#outcome).thenState(expected);
  }

  /** See {@link Outcome.thenRefused}. */
  async thenRefused(expected: Refusal): Promise<void> {
    (await this.#outcome).thenRefused(expected);
  }
}

const optionalFields = ["id", "metadata", "causationId", "correlationId"] as const;

function pickFields(event: RecordedEvent, expected: NewEvent | undefined): object {
  const { type, version, data } = event;
  const fields = optionalFields.filter((field) => expected?.[field] !== undefined);
  return { type, version, data, ...Object.fromEntries(fields.map((field) => [field, event[field]])) };
}

function refusalTest(expected: Refusal): (error: unknown) => boolean {
  if (expected instanceof RegExp) return (error) => expected.test(error instanceof Error ? error.message : `${error}`);
  if (typeof expected === "function") return (error) => error instanceof expected;
  throw new InvalidInput(
    `thenRefused() takes a class of errors or a regular expression, not ${describeValue(expected)}`,
  );
}

function describeRefusal(expected: Refusal): string {
  return expected instanceof RegExp ? `a message that matches ${expected}` : expected.name;
}

function failed(message: string, cause: unknown, expected: unknown): AssertionError {
  const error = new AssertionError({ message, actual: cause, expected });
  // The stack of the decision's own error shows where it was thrown.
  error.cause = cause;
  return error;
}
