import { deepStrictEqual } from "node:assert";
import type { AggregateDefinition, Decide } from "../event-store/aggregate.ts";
import { prepareAppend } from "../event-store/append.ts";
import { checkOptions, describeValue, isAnything, isText, type OptionChecks } from "../event-store/check-options.ts";
import { InvalidInput } from "../event-store/errors.ts";
import type { Aggregate, DomainEvent, NewEvent, RecordedEvent } from "../event-store/event.ts";
import { toJson } from "../event-store/json.ts";
import { planUpcasts } from "../event-store/plan-upcasts.ts";
import { recordEvents } from "../event-store/record-events.ts";
import { type Upcasters, type UpcastPlan, upcastEvents } from "../event-store/upcast.ts";
import { AsyncOutcome, type Decided, Outcome } from "./outcome.ts";

/** How to test an aggregate. */
export interface AggregateScenarioOptions {
  /** Convert given events of earlier versions; @default none */
  readonly upcasters?: Upcasters;
  /** Id of the aggregate; @default a fixed UUID */
  readonly id?: string;
}

const scenarioOptions: OptionChecks<AggregateScenarioOptions> = { upcasters: isAnything, id: isText };

const defaultId = "00000000-0000-7000-8000-000000000001";

/** An aggregate with the events that were given. It never changes: each call returns another one. */
export interface AggregateScenario<State, Event extends DomainEvent> {
  /** Adds events that are stored before the decision. */
  given(...events: readonly NewEvent<Event>[]): AggregateScenario<State, Event>;
  /** Takes a decision, as `decide()` would. */
  when(decision: (state: State, version: number) => readonly NewEvent<Event>[]): Outcome<State, Event>;
  when(decision: Decide<State, Event>): AsyncOutcome<State, Event>;
  /** Asserts the state after the given events. */
  thenState(expected: State): void;
}

/** What is tested. */
interface Subject<State, Event extends DomainEvent> {
  readonly definition: AggregateDefinition<State, Event>;
  readonly aggregate: Aggregate;
  readonly upcasters: UpcastPlan;
}

/** @throws {InvalidInput} if an option is unknown or invalid, or the definition is incomplete */
export function openAggregateScenario<State, Event extends DomainEvent>(
  definition: AggregateDefinition<State, Event>,
  options: AggregateScenarioOptions,
): AggregateScenario<State, Event> {
  checkOptions(options, scenarioOptions, "scenario() of an aggregate");
  for (const name of ["initialState", "evolve"] as const) {
    if (typeof definition[name] === "function") continue;
    throw new InvalidInput(`${name} of the aggregate is ${describeValue(definition[name])}; it must be a function`);
  }
  const aggregate = { type: definition.type, id: options.id ?? defaultId };
  return new GivenEvents({ definition, aggregate, upcasters: planUpcasts(options.upcasters ?? {}) }, []);
}

class GivenEvents<State, Event extends DomainEvent> implements AggregateScenario<State, Event> {
  readonly #subject: Subject<State, Event>;
  readonly #stored: readonly RecordedEvent[];

  constructor(subject: Subject<State, Event>, stored: readonly RecordedEvent[]) {
    this.#subject = subject;
    this.#stored = stored;
  }

  given(...events: readonly NewEvent<Event>[]): GivenEvents<State, Event> {
    return new GivenEvents(this.#subject, [...this.#stored, ...this.#record(events)]);
  }

  when(decision: (state: State, version: number) => readonly NewEvent<Event>[]): Outcome<State, Event>;
  when(decision: Decide<State, Event>): AsyncOutcome<State, Event>;
  when(decision: Decide<State, Event>): Outcome<State, Event> | AsyncOutcome<State, Event> {
    if (typeof decision !== "function") {
      throw new InvalidInput(`when() takes a function (state, version) => events, not ${describeValue(decision)}`);
    }
    const state = this.#load();
    let decided: ReturnType<typeof decision>;
    try {
      decided = decision(state, this.#stored.length);
    } catch (error) {
      return this.#outcome({ isRefused: true, error });
    }
    if (!isPromise(decided)) return this.#accept(state, decided);
    const accept = (events: readonly NewEvent<Event>[]) => this.#accept(state, events);
    return new AsyncOutcome(decided.then(accept, (error) => this.#outcome({ isRefused: true, error })));
  }

  thenState(expected: State): void {
    deepStrictEqual(this.#load(), expected);
  }

  /** For callers without types. */
  thenEvents(): never {
    throw withoutDecision("thenEvents()");
  }

  /** For callers without types. */
  thenRefused(): never {
    throw withoutDecision("thenRefused()");
  }

  /** Begins with the first event each time, because `evolve` may modify the state. */
  #load(): State {
    const { definition } = this.#subject;
    const state = fold(this.#subject, definition.initialState(), this.#stored);
    if (definition.snapshots === undefined) return state;
    // In the store, the state may come from a snapshot.
    return JSON.parse(toJson(state, `the state of ${definition.type}`, { mustRestore: true }));
  }

  #accept(state: State, decided: readonly NewEvent<Event>[]): Outcome<State, Event> {
    if (!Array.isArray(decided)) {
      throw new InvalidInput(`the decision returned ${describeValue(decided)}, not an array of events`);
    }
    const events = this.#record(decided);
    return this.#outcome({ isRefused: false, events, state: fold(this.#subject, state, events) });
  }

  #outcome(decided: Decided<State>): Outcome<State, Event> {
    return new Outcome(decided, (events) => this.#record(events));
  }

  #record(events: readonly NewEvent<Event>[]): readonly RecordedEvent[] {
    return record(this.#subject.aggregate, events, this.#stored.length);
  }
}

/** @returns the events as the store returns them, before upcasting */
function record(aggregate: Aggregate, events: readonly NewEvent[], afterVersion: number): readonly RecordedEvent[] {
  const { ids, streamId } = prepareAppend(aggregate, events, afterVersion);
  const places = ids.map((id, index) => {
    const aggregateVersion = afterVersion + index + 1;
    return { id, aggregateVersion, position: BigInt(aggregateVersion) };
  });
  const lastVersion = afterVersion + ids.length;
  const ends = { firstVersion: afterVersion + 1, lastVersion, lastPosition: BigInt(lastVersion) };
  const result = { streamId, ...ends, events: places, isDuplicate: false };
  return recordEvents(events, { aggregate, result, occurredAt: new Date() });
}

function fold<State, Event extends DomainEvent>(
  { definition, upcasters }: Subject<State, Event>,
  state: State,
  stored: readonly RecordedEvent[],
): State {
  const events = upcastEvents(stored, upcasters) as readonly RecordedEvent<Event>[];
  return events.reduce((before, event) => definition.evolve(before, event), state);
}

/** Some runners run tests in a realm of their own, whose promises are of another class. */
function isPromise<Value>(value: Value | Promise<Value>): value is Promise<Value> {
  return typeof (value as Partial<Promise<Value>> | undefined)?.then === "function";
}

function withoutDecision(call: string): InvalidInput {
  return new InvalidInput(`${call} is about a decision: call when() before it`);
}
