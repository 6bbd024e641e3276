// "cqrs-postgres/testing": an event store for each test, and given/when/then. It imports no test runner.
export type { AggregateScenario, AggregateScenarioOptions } from "./aggregate-scenario.ts";
export type { AsyncOutcome, Outcome, Refusal } from "./outcome.ts";
export type { ProjectionScenario, ProjectionScenarioOptions } from "./projection-scenario.ts";
export { scenario } from "./scenario.ts";
export { createTestStore, stopTestServer, type TestStore, type TestStoreOptions } from "./test-store.ts";
