// Callers in other languages write their statements once: what they could call yesterday they can call tomorrow.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type TestDatabase, withDatabase } from "../support/database.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

/** Name, type and value of an argument. */
type Argument = readonly [name: string, type: string, value: string];

interface EarlierCall {
  readonly name: string;
  /** The arguments as they were when the function was introduced, those that must be given first. */
  readonly arguments: readonly Argument[];
  /** How many must be given. */
  readonly required: number;
  /** The columns that it returned, in order; undefined for a value. */
  readonly columns?: readonly string[];
  /** Only the administrator may call it. */
  readonly isAdministrative?: boolean;
}

const id = "'0190a5b2-1111-7000-8000-00000000abcd'";
const stream = `event_store.stream_id_of('Order', ${id})`;
const events = `'[{"event_type":"OrderPlaced","event_data":{}}]'`;
const aggregate: readonly Argument[] = [
  ["aggregate_type", "varchar", "'Order'"],
  ["aggregate_id", "uuid", id],
];
const eventColumns = [
  "global_position",
  "stream_id",
  "aggregate_type",
  "aggregate_id",
  "aggregate_version",
  "event_id",
  "event_type",
  "event_version",
  "event_data",
  "metadata",
  "causation_id",
  "correlation_id",
  "occurred_at",
];

const calls: readonly EarlierCall[] = [
  { name: "stream_id_of", arguments: aggregate, required: 2 },
  {
    name: "append",
    arguments: [
      ["stream_id", "uuid", stream],
      ...aggregate,
      ["expected_version", "integer", "null"],
      ["events", "jsonb", events],
    ],
    required: 5,
    columns: ["stream_id", "first_version", "last_version", "last_position", "deduplicated"],
  },
  {
    name: "append_events",
    arguments: [
      ["p_aggregate_type", "varchar", "'Order'"],
      ["p_aggregate_id", "uuid", id],
      ["p_expected_version", "integer", "-2"],
      ["p_events", "jsonb[]", `array[${events.replace("'[", "'").replace("]'", "'")}::jsonb]`],
    ],
    required: 4,
  },
  {
    name: "append_batch",
    arguments: [
      [
        "appends",
        "jsonb",
        `'[{"aggregate_type":"Order","aggregate_id":"0190a5b2-1111-7000-8000-00000000abcd","events":[{"event_type":"A","event_data":{}}]}]'`,
      ],
    ],
    required: 1,
    columns: [
      "stream_id",
      "first_version",
      "last_version",
      "last_position",
      "deduplicated",
      "sqlstate",
      "detail",
      "message",
      "positions",
    ],
  },
  {
    name: "read_stream",
    arguments: [
      ...aggregate,
      ["after_version", "integer", "0"],
      ["max_count", "integer", "10"],
      ["backwards", "boolean", "'false'"],
      ["up_to_version", "integer", "'9'"],
      ["up_to_time", "timestamptz", "null"],
    ],
    required: 2,
    columns: eventColumns,
  },
  {
    name: "read_all",
    arguments: [
      ["after_position", "bigint", "0"],
      ["max_count", "integer", "'10'"],
      ["event_types", "text[]", "'{OrderPlaced}'"],
      ["aggregate_types", "text[]", "'{Order}'"],
      ["up_to_position", "bigint", "null"],
    ],
    required: 1,
    columns: eventColumns,
  },
  { name: "safe_position", arguments: [], required: 0 },
  { name: "last_drawn_position", arguments: [], required: 0 },
  { name: "horizon_holder", arguments: [], required: 0, columns: ["held_position", "pid"] },
  {
    name: "save_snapshot",
    arguments: [
      ...aggregate,
      ["aggregate_version", "integer", "1"],
      ["state_version", "integer", "1"],
      ["state", "jsonb", "'{}'"],
      ["redactions", "bigint", "'0'"],
    ],
    required: 5,
  },
  {
    name: "load_snapshot",
    arguments: [...aggregate, ["state_version", "integer", "'1'"]],
    required: 3,
    columns: ["aggregate_version", "state", "taken_at"],
  },
  {
    name: "archive_stream",
    arguments: [
      ["aggregate_type", "varchar", "'Invoice'"],
      ["aggregate_id", "uuid", id],
      ["expected_version", "integer", "null"],
    ],
    required: 2,
  },
  {
    name: "redact_event",
    arguments: [
      ...aggregate,
      ["aggregate_version", "integer", "1"],
      ["reason", "text", "'erasure'"],
      ["event_data", "jsonb", "'{}'"],
      ["metadata", "jsonb", "null"],
    ],
    required: 4,
    isAdministrative: true,
  },
  {
    name: "check_checkpoint",
    arguments: [
      ["checkpoint", "bigint", "0"],
      ["event_id", "uuid", "null"],
      ["epoch_id", "uuid", "null"],
    ],
    required: 1,
  },
];

function untyped([, , value]: Argument): string {
  return value;
}

function typed([, type, value]: Argument): string {
  return `${value}::${type}`;
}

function named([name, , value]: Argument): string {
  return `${name} => ${value}`;
}

for (const call of calls) {
  test(`${call.name} can be called with the arguments that it has always had`, async () => {
    const sql = call.isAdministrative === true ? database.admin : database.sql;
    await prepare();
    for (const write of [untyped, typed, named]) {
      for (let count = call.required; count <= call.arguments.length; count++) {
        const list = call.arguments.slice(0, count).map(write).join(", ");
        const rows = await sql.unsafe(`select * from event_store.${call.name}(${list})`);
        const columns = rows.columns.map(({ name }) => name);
        const known = call.columns ?? [call.name];
        assert.deepEqual(columns.slice(0, known.length), known, `${call.name}(${list})`);
      }
    }
  });
}

async function prepare(): Promise<void> {
  for (const type of ["Order", "Invoice"]) {
    const reopened = database.admin`update event_store.event_stream set archived_at = null`;
    await reopened;
    await database.sql.unsafe(`select event_store.append_events('${type}', ${id}, null,
      array['{"event_type":"OrderPlaced","event_data":{}}'::jsonb])`);
  }
}

/** Called by our own client only, or introduced together with their present arguments. */
const others = ["aggregate_id_of", "find_positions", "resume_log", "epoch_mismatch", "stream_info", "reopen_stream"];

test("each function that an application may call is among them", async () => {
  const rows = await database.sql<{ name: string }[]>`
    select distinct proname as name from pg_proc
    where pronamespace = 'event_store'::regnamespace and has_function_privilege(oid, 'execute')`;
  const known = [...calls.map(({ name }) => name), ...others];
  assert.deepEqual(
    rows.map(({ name }) => name).filter((name) => !known.includes(name)),
    [],
  );
});
