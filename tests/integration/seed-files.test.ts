import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assetsDir } from "../../scripts/lib/paths.ts";
import type { SeedResult } from "../../scripts/lib/seed/seed.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";

/** A database, and a project's SQL folder with its seeds. */
interface SeedTest extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly seeds: string;
  write(name: string, content: string | Uint8Array): Promise<void>;
  /** The words of a command that seeds a set. */
  words(set: string, ...more: string[]): string[];
  load(set: string, ...more: string[]): Promise<SeedResult>;
  /** Expects that a set is refused, and that nothing was loaded. */
  refuses(set: string, exitCode: number, ...texts: (string | RegExp)[]): Promise<void>;
  count(): Promise<number>;
}

async function withSeeds(): Promise<SeedTest> {
  const database = await withDatabase();
  const dir = await mkdtemp(join(tmpdir(), "cqrs-seeds-"));
  const seeds = join(dir, "seeds");
  await mkdir(seeds);
  const words = (set: string, ...more: string[]) => {
    return ["seed", "--database", database.name, "--dir", dir, "--set", set, ...more];
  };
  const count = async () => {
    const [row] = await database.sql`
      select (select count(*) from event_store.domain_event)::integer + (select count(*) from note)::integer as count`;
    return row?.["count"];
  };
  await database.sql`create table note (text text primary key)`;
  return {
    database,
    seeds,
    words,
    count,
    write: (name, content) => writeFile(join(seeds, name), content),
    load: (set, ...more) => runForData<SeedResult>(words(set, ...more), database),
    async refuses(set, exitCode, ...texts) {
      const before = await count();
      const run = await runScript(words(set), database);
      assert.equal(run.exitCode, exitCode, run.stderr);
      for (const text of texts) {
        if (typeof text === "string") assert.ok(run.stderr.includes(text), `${text}\n${run.stderr}`);
        else assert.match(run.stderr, text);
      }
      assert.equal(await count(), before, "nothing was loaded");
    },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      await rm(dir, { recursive: true });
    },
  };
}

const line = (id: string, more: object = {}) =>
  JSON.stringify({ aggregate: { type: "Order", id }, type: "OrderPlaced", data: { total: 1 }, ...more });

test("seed loads the events of a .jsonl file once, in the order of its lines", async () => {
  await using seeds = await withSeeds();
  const id = randomUUID();
  const context = { metadata: { by: "me" }, correlationId: "checkout-1", version: 2, expectedVersion: 1 };
  const lines = [line("b"), line("a", { id, expectedVersion: "no-stream" }), "", line("b", context), line("a")];
  // With a byte order mark and CRLF, and without an end of the last line.
  await seeds.write("dev.jsonl", `\uFEFF${lines.join("\r\n")}`);
  const loaded = { set: "dev", file: join(seeds.seeds, "dev.jsonl"), events: 4 };
  assert.deepEqual(await seeds.load("dev"), { ...loaded, appended: 4 });
  assert.deepEqual(await seeds.load("dev"), { ...loaded, appended: 0 });
  await seeds.write("dev.jsonl", `${[...lines, line("c")].join("\n")}\n`);
  assert.deepEqual(await seeds.load("dev"), { ...loaded, events: 5, appended: 1 });
  const rows = await seeds.database.sql<{ event: string }[]>`
    select concat_ws(' ', aggregate_key, aggregate_version, event_version, metadata) as event
    from event_store.domain_event join event_store.event_stream using (stream_id) order by global_position`;
  const metadata = '{"by": "me", "$correlationId": "checkout-1"}';
  assert.deepEqual(
    rows.map(({ event }) => event),
    ["b 1 1", "a 1 1", `b 2 2 ${metadata}`, "a 2 1", "c 1 1"],
  );
  await seeds.write("none.jsonl", "");
  assert.deepEqual((await seeds.load("none")).events, 0);
});

test("every error in a .jsonl file has its line, and nothing of the file is loaded", async () => {
  await using seeds = await withSeeds();
  const good = line("good");
  const id = randomUUID();
  const cases: readonly (readonly [wrong: string, problem: string | RegExp])[] = [
    ['{"aggregate":', /wrong\.jsonl:2: the line is not JSON: \S/],
    ["[]", "wrong.jsonl:2: the line is an array, not a JSON object"],
    ['{"type":"X","data":{}}', 'wrong.jsonl:2: the line has no aggregate: "aggregate":{"type":…,"id":…}'],
    [line("x", { aggregate: { type: "Order" } }), /wrong\.jsonl:2: the aggregate's id is undefined; it must be a UUID/],
    [line("x", { aggregate: { type: "Order", id: "x", key: 1 } }), /:2: the aggregate has the unknown key "key"/],
    [line("x", { dat: 1 }), /wrong\.jsonl:2: event 1 \(OrderPlaced\) has the unknown key "dat"/],
    [line("x", { data: null }), /wrong\.jsonl:2: event 1 \(OrderPlaced\) has no data/],
    [line("x", { id: "4711" }), 'wrong.jsonl:2: the id of event 1 (OrderPlaced) is not a UUID: "4711"'],
    [line("x", { expectedVersion: "newest" }), /wrong\.jsonl:2: "newest" is not an expected version/],
    [
      line("x", { data: { text: "\u0000" } }),
      /wrong\.jsonl:2: data of event 1 \(OrderPlaced\) contains text with a NUL/,
    ],
    [line("x", { type: "t".repeat(256) }), /wrong\.jsonl:2: /],
    [line("x").replace('"total":1', '"total":12345678901234567890'), /wrong\.jsonl:2: the number 12345678901234567890/],
    [`${line("x", { id })}\n${line("y", { id })}`, `wrong.jsonl:3: the id ${id} is that of line 2`],
    [`${line("x", { id })}\n${`${good}\n`.repeat(500)}${line("y", { id })}`, /wrong\.jsonl:503: .*taken/],
    [
      `${line("x", { id })}\n${`${good}\n`.repeat(500)}${line("x", { id })}`,
      `:503: the id ${id} is that of an earlier line`,
    ],
  ];
  for (const [wrong, problem] of cases) {
    await seeds.write("wrong.jsonl", `${good}\n${wrong}\n${good}`);
    const isConflict = problem instanceof RegExp && problem.source.includes("taken");
    await seeds.refuses("wrong", isConflict ? 8 : 2, problem);
  }
  await seeds.write("wrong.jsonl", Buffer.concat([Buffer.from(`${good}\n\n${good}`), Buffer.from([0xff, 0x0a])]));
  await seeds.refuses("wrong", 2, "wrong.jsonl:3: the line is not UTF-8", "fix: Save the file as UTF-8");
  await seeds.write("wrong.jsonl", `${good}\n${line("x", { expectedVersion: 7 })}`);
  await seeds.refuses(
    "wrong",
    8,
    /^error: .*wrong\.jsonl:2: the stream of Order x is at version 0, not at version 7$/m,
  );
});

test("a line that was inserted above others is refused, because theirs are no longer the same events", async () => {
  await using seeds = await withSeeds();
  await seeds.write("dev.jsonl", `${line("a")}\n${line("b")}\n`);
  await seeds.load("dev");
  await seeds.write("dev.jsonl", `${line("new")}\n${line("a")}\n${line("b")}\n`);
  await seeds.refuses(
    "dev",
    8,
    /dev\.jsonl:1: /,
    "An event without an id has that of its line: add lines only at the end.",
  );
});

test("numbers that keep their value are loaded, however they are written", async () => {
  await using seeds = await withSeeds();
  const numbers = "[1.50, 1e3, 0.1, -0.0, 12345678901234.5, 1E-7, 9007199254740991]";
  await seeds.write("dev.jsonl", line("a", { data: [] }).replace("[]", numbers));
  await seeds.load("dev");
  const [row] = await seeds.database.sql`
    select event_data = ${numbers}::text::jsonb as "isSame" from event_store.domain_event`;
  assert.equal(row?.["isSame"], true);
});

test("a killed .jsonl seed leaves nothing, and the next one loads everything", async () => {
  await using seeds = await withSeeds();
  await seeds.write("long.jsonl", Array.from({ length: 3_000 }, (_, index) => line(`order-${index}`)).join("\n"));
  const started = startScript(seeds.words("long"), seeds.database);
  const isLoading = async () => {
    const [row] = await seeds.database.admin`
      select from pg_locks join pg_database as d on d.oid = database
      where datname = ${seeds.database.name} and relation = 'event_store.domain_event'::regclass
        and mode = 'RowExclusiveLock'`;
    return row !== undefined;
  };
  while (!(await isLoading())) await new Promise((resolve) => setTimeout(resolve, 5));
  started.kill("SIGKILL");
  await started.ended;
  assert.equal(await seeds.count(), 0);
  assert.equal((await seeds.load("long")).appended, 3_000);
});

test("seed runs a .sql file as the application, in one transaction", async () => {
  await using seeds = await withSeeds();
  const application = seeds.database.application.user;
  await seeds.write(
    "dev.sql",
    "\uFEFF-- a note;\r\ninsert into note values ('a;b') on conflict do nothing;\r\n" +
      "do $$ begin insert into note values (session_user) on conflict do nothing; end $$;",
  );
  assert.deepEqual(await seeds.load("dev"), {
    set: "dev",
    file: join(seeds.seeds, "dev.sql"),
    events: null,
    appended: null,
  });
  await seeds.load("dev");
  const rows = await seeds.database.sql`select text from note order by text collate "C"`;
  assert.deepEqual([...rows], [{ text: "a;b" }, { text: application }]);
  await seeds.write("none.sql", "");
  await seeds.load("none");
});

test("every error in a .sql file has its line and column, and nothing of the file is loaded", async () => {
  await using seeds = await withSeeds();
  const good = "insert into note values ('x');";
  const cases: readonly (readonly [sql: string, exitCode: number, problem: string | RegExp])[] = [
    ["insert in note;", 2, "wrong.sql:2:8: syntax error at or near"],
    ["\\copy note from x", 2, "wrong.sql:2:1: syntax error at or near"],
    ["insert into nowhere values (1);", 1, 'wrong.sql:2:13: relation "nowhere" does not exist'],
    [
      "\n  insert into note values ('x');",
      1,
      /wrong\.sql:3:3: duplicate key value[\s\S]*Key \(text\)=\(x\) already exists/,
    ],
    ["end;", 2, "wrong.sql:2:1: a seed runs in one transaction"],
    ["commit and chain;", 2, "wrong.sql:2:1: a seed runs in one transaction"],
    ["copy note from stdin;", 2, "wrong.sql:2:1: COPY … FROM STDIN has no input here"],
    ["do $$ begin commit; end $$;", 1, "wrong.sql:2:1: invalid transaction termination"],
    ["vacuum note;", 1, "wrong.sql:2:1: VACUUM cannot run inside a transaction block"],
    ["delete from event_store.domain_event;", 1, "wrong.sql:2:1: permission denied for table domain_event"],
    ["select 'ä\u0000';", 2, "wrong.sql:2:10: the file contains a null character"],
  ];
  for (const [sql, exitCode, problem] of cases) {
    await seeds.write("wrong.sql", `${good}\n${sql}`);
    await seeds.refuses("wrong", exitCode, problem, "Nothing was loaded.");
  }
  await seeds.write("wrong.sql", Buffer.concat([Buffer.from(`${good}\n-- `), Buffer.from([0xe4])]));
  await seeds.refuses("wrong", 2, "wrong.sql:2: the line is not UTF-8");
  await seeds.write("wrong.sql", `-- ${"x".repeat(17 * 1024 * 1024)}`);
  await seeds.refuses("wrong", 2, "wrong.sql: a .sql file may have at most 16 MB", "write the events as .jsonl");
});

const module = (body: string) => `
import { appendEvents } from "${pathToFileURL(join(assetsDir, "scripts/lib/index.ts")).href}";
const order = { type: "Order", id: "order-1" };
const placed = { type: "OrderPlaced", data: { total: 1 } };
export default async function ({ store, sql, rng }) {
${body}
}`;

test("a .ts seed gets a store whose appends are part of the transaction, and the same random numbers", async () => {
  await using seeds = await withSeeds();
  await seeds.write(
    "dev.ts",
    module(`  const { events } = await appendEvents(store, order, [{ ...placed, data: { total: rng.integer(1, 1000) } }]);
  await sql\`insert into note values (\${events[0].position + ' ' + rng.uuid()})\`;`),
  );
  const read = async () => {
    const [row] = await seeds.database.sql`
      select text, event_data as data from note, event_store.domain_event order by global_position desc`;
    return row;
  };
  await seeds.load("dev");
  const first = await read();
  await seeds.database.sql`delete from note`;
  await seeds.load("dev", "--rng", "2");
  assert.notDeepEqual((await read())?.["data"], first?.["data"]);
  await seeds.database.sql`delete from note`;
  await seeds.load("dev", "--rng", "1");
  assert.deepEqual((await read())?.["data"], first?.["data"]);
});

test("an error of a .ts seed has its place, and nothing of it is loaded", async () => {
  await using seeds = await withSeeds();
  const begin = "  await appendEvents(store, order, [placed]);\n";
  await seeds.write("wrong.ts", module(`${begin}  throw new Error("no more");`));
  await seeds.refuses("wrong", 1, /wrong\.ts:7:\d+: Error: no more$/m);
  await seeds.write("wrong.ts", module(`${begin}  await sql\`insert into nowhere values (1)\`;`));
  await seeds.refuses("wrong", 1, /wrong\.ts\S*: .*relation "nowhere" does not exist$/m);
  await seeds.write("wrong.ts", module(`${begin}  await sql\`insert into nowhere values (1)\`.catch(() => {});`));
  await seeds.refuses("wrong", 1, /relation "nowhere" does not exist$/m);
  await seeds.write(
    "wrong.ts",
    module(`${begin}  await appendEvents(store, order, [placed], { expectedVersion: 7 });`),
  );
  await seeds.refuses("wrong", 1, /VersionConflict: the stream of Order order-1 is at version 1, not at version 7$/m);
  await seeds.write("wrong.ts", "export const seed = 1;");
  await seeds.refuses("wrong", 2, "wrong.ts: the module has no default export that is a function");
  await seeds.write("wrong.ts", "export default async (");
  await seeds.refuses("wrong", 2, "wrong.ts: the module cannot be loaded");
});

test("seed refuses a set that does not exist, and names that stand for several", async () => {
  await using seeds = await withSeeds();
  await seeds.write("development.sql", "select 1;");
  await seeds.refuses("developmnt", 2, 'error: There is no set "developmnt"', "fix: Did you mean development?");
  await seeds.refuses("development.sql", 2, "fix: Did you mean development?");
  await seeds.refuses("../development", 2, "why: Sets: demo, development.");
  await seeds.write("development.jsonl", "");
  await seeds.refuses("development", 2, "error: There are several sets development");
  await seeds.write("demo.sql", "select 1;");
  await seeds.refuses("demo", 2, "The name stands for the demo of this package, and for ");
  const other = async (...words: string[]) => (await runScript(seeds.words("one", ...words), seeds.database)).stderr;
  await seeds.write("one.sql", "select 1;");
  assert.match(await other("--events", "5"), /^error: --events applies only to the demo$/m);
  assert.match(await other("--rng", "5"), /^error: --rng applies only to the demo and to \.ts files$/m);
});
