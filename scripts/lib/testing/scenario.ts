import type { AggregateDefinition } from "../event-store/aggregate.ts";
import { describeValue } from "../event-store/check-options.ts";
import { InvalidInput } from "../event-store/errors.ts";
import type { DomainEvent } from "../event-store/event.ts";
import type { ProjectionDefinition } from "../event-store/projection/definition.ts";
import { type AggregateScenario, type AggregateScenarioOptions, openAggregateScenario } from "./aggregate-scenario.ts";
import {
  openProjectionScenario,
  type ProjectionScenario,
  type ProjectionScenarioOptions,
} from "./projection-scenario.ts";

/**
 * Tests an aggregate without a database: `scenario(order).given(placed).when(pay(42)).thenEvents(paid)`.
 *
 * Events pass through JSON and get versions, ids and times as in the store, so that what JSON changes shows up.
 */
export function scenario<State, Event extends DomainEvent>(
  definition: AggregateDefinition<State, Event>,
  options?: AggregateScenarioOptions,
): AggregateScenario<State, Event>;
/**
 * Tests a projection in a test store of its own:
 * `await scenario(orderTotal).given(order, placed, paid).thenRows("select * from order_total", [{ total: 42 }])`.
 */
export function scenario<Event extends DomainEvent>(
  definition: ProjectionDefinition<Event>,
  options?: ProjectionScenarioOptions,
): ProjectionScenario<Event>;
export function scenario(
  definition: AggregateDefinition<unknown, DomainEvent> | ProjectionDefinition,
  options: AggregateScenarioOptions & ProjectionScenarioOptions = {},
): AggregateScenario<unknown, DomainEvent> | ProjectionScenario<DomainEvent> {
  if (isObject(definition) && "evolve" in definition) return openAggregateScenario(definition, options);
  if (isObject(definition) && "handle" in definition) return openProjectionScenario(definition, options);
  throw new InvalidInput(
    `the definition of a scenario is ${describeValue(definition)}; it must be an aggregate's, with type, ` +
      "initialState and evolve, or a projection's, with name, version and handle",
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
