import { AssertionError, deepStrictEqual } from "node:assert";
import { appendEvents } from "../event-store/append.ts";
import { checkAggregate } from "../event-store/check-aggregate.ts";
import { checkOptions, isAnything, isText, type OptionChecks } from "../event-store/check-options.ts";
import { describeError } from "../event-store/describe-error.ts";
import { InvalidInput } from "../event-store/errors.ts";
import type { Aggregate, DomainEvent, NewEvent } from "../event-store/event.ts";
import type { ProjectionDefinition } from "../event-store/projection/definition.ts";
import { project } from "../event-store/projection/project.ts";
import type { Upcasters } from "../event-store/upcast.ts";
import { createTestStore, type TestStore } from "./test-store.ts";

/** How to test a projection. */
export interface ProjectionScenarioOptions {
  /** Convert given events of earlier versions; @default none */
  readonly upcasters?: Upcasters;
  /** @default the project of the working folder, as for `createTestStore()` */
  readonly projectDir?: string;
}

const scenarioOptions: OptionChecks<ProjectionScenarioOptions> = { upcasters: isAnything, projectDir: isText };

/** A projection with the events that were given. It never changes: each call returns another one. */
export interface ProjectionScenario<Event extends DomainEvent> {
  /** Adds events of an aggregate. */
  given(aggregate: Aggregate, ...events: readonly NewEvent<Event>[]): ProjectionScenario<Event>;
  /** Projects the events in a store of its own, and asserts the rows of a query. */
  thenRows(query: string, expected: readonly object[]): Promise<void>;
  /** Projects the events in a store of its own, and calls `check` with it, for other assertions. */
  thenStore(check: (store: TestStore) => unknown): Promise<void>;
}

/** Events of one aggregate. */
interface Given {
  readonly aggregate: Aggregate;
  readonly events: readonly NewEvent[];
}

/** @throws {InvalidInput} if an option is unknown or invalid */
export function openProjectionScenario<Event extends DomainEvent>(
  definition: ProjectionDefinition<Event>,
  options: ProjectionScenarioOptions,
): ProjectionScenario<Event> {
  checkOptions(options, scenarioOptions, "scenario() of a projection");
  return new GivenStreams(definition as unknown as ProjectionDefinition, options, []);
}

class GivenStreams implements ProjectionScenario<DomainEvent> {
  readonly #definition: ProjectionDefinition;
  readonly #options: ProjectionScenarioOptions;
  readonly #given: readonly Given[];

  constructor(definition: ProjectionDefinition, options: ProjectionScenarioOptions, given: readonly Given[]) {
    this.#definition = definition;
    this.#options = options;
    this.#given = given;
  }

  given(aggregate: Aggregate, ...events: readonly NewEvent[]): GivenStreams {
    try {
      checkAggregate(aggregate);
    } catch (error) {
      throw new InvalidInput(`given() of a projection begins with an aggregate, but ${(error as Error).message}`);
    }
    return new GivenStreams(this.#definition, this.#options, [...this.#given, { aggregate, events }]);
  }

  async thenRows(query: string, expected: readonly object[]): Promise<void> {
    await this.thenStore(async ({ sql }) => {
      const rows = await sql.unsafe(query);
      deepStrictEqual(
        rows.map((row) => ({ ...row })),
        expected,
      );
    });
  }

  async thenStore(check: (store: TestStore) => unknown): Promise<void> {
    await using store = await createTestStore(this.#options);
    for (const { aggregate, events } of this.#given) {
      if (events.length > 0) await appendEvents(store, aggregate, events);
    }
    await projectAll(store, this.#definition);
    await check(store);
  }

  /** For callers without types. */
  when(): never {
    throw new InvalidInput("a projection takes no decision: call thenRows() or thenStore() after given()");
  }
}

/** Projects to the end of the log. An event that fails is not retried, because the code would fail again. */
async function projectAll(store: TestStore, definition: ProjectionDefinition): Promise<void> {
  const failures: unknown[] = [];
  const handle: ProjectionDefinition["handle"] = async (events, transaction) => {
    try {
      return await definition.handle(events, transaction);
    } catch (error) {
      failures.push(error);
      throw error;
    }
  };
  const refresh = definition.refresh?.bind(definition);
  const run = { ...definition, ...(refresh === undefined ? {} : { refresh }), handle, maxAttempts: 1 };
  await project(store, { ...run, stopWhenCaughtUp: true });
  const failed = await readFailed(store);
  if (failed !== undefined) throw projectionFailed(definition, failed, failures.at(-1));
}

interface FailedEvent {
  readonly event: string;
  readonly error: string | null;
}

async function readFailed({ sql }: TestStore): Promise<FailedEvent | undefined> {
  const [row] = await sql<FailedEvent[]>`
    select
      format('event %s (%s) of %s %s', aggregate_version, event_type, aggregate_type,
        coalesce(aggregate_key, aggregate_id::text)) as event,
      error
    from read_model.dead_letter where attempts > 0 order by updated_at limit 1`;
  return row;
}

/** @param cause what the projection's code has thrown, with its stack; undefined if it was the server that refused */
function projectionFailed({ name }: ProjectionDefinition, failed: FailedEvent, cause: unknown): AssertionError {
  const message = `the projection ${name} failed on ${failed.event}: ${failed.error ?? describeError(cause)}`;
  const error = new AssertionError({ message, actual: cause });
  error.cause = cause;
  return error;
}
