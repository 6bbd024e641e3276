import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import type { LedgerEntry } from "../../scripts/lib/schema/ledger.ts";
import { planSchema } from "../../scripts/lib/schema/plan.ts";
import type { SchemaFile } from "../../scripts/lib/schema/source.ts";

function file(name: string, checksum = "one"): SchemaFile {
  return {
    source: "cqrs",
    name,
    kind: name.startsWith("migrations/") ? "migration" : "routine",
    path: `sql/${name}`,
    text: "",
    checksum,
  };
}

function entry(name: string, checksum = "one"): LedgerEntry {
  return { source: "cqrs", name, checksum, appliedAt: new Date(0), progress: null };
}

function pendingNames(files: readonly SchemaFile[], applied: readonly LedgerEntry[]): string[] {
  return planSchema(files, applied).pending.map(({ name }) => name);
}

function assertDrift(files: readonly SchemaFile[], applied: readonly LedgerEntry[], message: RegExp): void {
  assert.throws(
    () => planSchema(files, applied),
    (error) => {
      assert.ok(error instanceof ScriptError);
      assert.deepEqual([error.code, error.exitCode], ["SCHEMA_DRIFT", 4]);
      assert.match(error.message, message);
      assert.match(error.why ?? "", /[Nn]othing was applied/);
      return true;
    },
  );
}

const first = "migrations/0001-schemas.sql";
const second = "migrations/0002-events.sql";
const third = "migrations/0003-orders.sql";
const routine = "routines/functions/event_store.append.sql";

test("planSchema() reports every file as pending for an empty database", () => {
  assert.deepEqual(pendingNames([file(first), file(second), file(routine)], []), [first, second, routine]);
});

test("planSchema() reports nothing as pending if everything is applied", () => {
  const applied = [entry(first), entry(routine)];
  assert.deepEqual(planSchema([file(first), file(routine)], applied), { pending: [], applied });
});

test("planSchema() keeps the order of the files", () => {
  const files = [file(first), file(second), file(third), file(routine)];
  assert.deepEqual(pendingNames(files, [entry(first)]), [second, third, routine]);
});

test("planSchema() applies a routine again if its checksum has changed", () => {
  assert.deepEqual(pendingNames([file(first), file(routine, "two")], [entry(first), entry(routine)]), [routine]);
});

test("planSchema() accepts a new routine whose name comes before applied ones", () => {
  const other = "routines/functions/a.sql";
  const files = [file(first), file(other), file(routine)];
  assert.deepEqual(pendingNames(files, [entry(first), entry(routine)]), [other]);
});

test("planSchema() accepts an applied routine whose file was removed", () => {
  assert.deepEqual(pendingNames([file(first)], [entry(first), entry(routine)]), []);
});

test("planSchema() refuses a migration that was edited after it was applied", () => {
  assertDrift([file(first, "two"), file(second)], [entry(first)], /^migrations\/0001-schemas\.sql was edited/);
});

test("planSchema() refuses an applied migration whose file is missing", () => {
  assertDrift(
    [file(first)],
    [entry(first), entry(second)],
    /^migrations\/0002-events\.sql was applied .* the file is missing$/,
  );
});

test("planSchema() refuses a migration that comes before an applied one", () => {
  const files = [file(first), file(second), file(third)];
  const message = /^migrations\/0002-events\.sql comes before migrations\/0003-orders\.sql/;
  assertDrift(files, [entry(first), entry(third)], message);
});
