// Runs what the READMEs show, so that it stays true.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openPlainPool } from "../support/plain-client.ts";
import { blocksOf, firstCellsOf, type Readme, readReadmes } from "../support/readme.ts";
import { runForData } from "../support/run-script.ts";
import { runtimeCommand, runtimeName } from "../support/runtime.ts";
import { withFiles } from "../support/schema-folder.ts";
import { type TestStack, withCluster } from "../support/stack.ts";
import { runTestFile } from "../support/test-file.ts";
import { makeTestServerFolder, testServerPid } from "../support/test-stores.ts";

const run = promisify(execFile);
const readmes = await readReadmes();
const events = "scripts/lib/event-store/README.md";
/** What the examples import from `cqrs-postgres`, `cqrs-postgres/stack` and `cqrs-postgres/testing`. */
const packageFiles = ["scripts/lib/index.ts", "scripts/lib/stack/index.ts", "scripts/lib/testing/index.ts"];
const testing = "scripts/lib/testing/README.md";
let dir: string;
before(async () => {
  // In the project: elsewhere, no runtime finds the dependencies, nor this clone under the package's name.
  dir = await mkdtemp(join(assetsDir, "tests/.readme-"));
  await writeExamples();
});
after(() => rm(dir, { recursive: true, force: true }));

test("the README's SQL appends, reads and projects as the application", async () => {
  await using database = await withDatabase();
  assert.deepEqual(await runSql(database, "README.md"), ["OrderPlaced"]);
  await using application = openConnection(database.application);
  const rows = await application.sql`select total::integer from read_model.order_total`;
  assert.deepEqual([...rows], [{ total: 42 }]);
});

test("the example of a project's own schema works from the first migration to the reset", async () => {
  await using stack = await withCluster();
  await using folder = await withFiles({});
  const options = { stackDir: stack.stackDir, env: { CQRS_SQL_DIR: folder.dir } };
  await runForData(["bootstrap"], options);
  const [, text = ""] = /^### An example$([\s\S]*?)^### /m.exec(readmes.get("sql/README.md")?.text ?? "") ?? [];
  const files = [...text.matchAll(/^```text\n-- sql\/app\/(\S+)\n([\s\S]*?)^```$/gm)];
  const [creating, ...applying] = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, lines]) => commandsOf(lines));
  assert.deepEqual([files.length, creating?.length, applying.flat().length], [4, 2, 7]);
  for (const words of creating ?? []) await runForData(words, options);
  const created = await readdir(join(folder.dir, "migrations"));
  const named = files.map(([, name]) => name).filter((name) => name?.startsWith("migrations/"));
  assert.deepEqual(
    created.toSorted().map((name) => `migrations/${name}`),
    named,
  );
  await folder.write(Object.fromEntries(files.map(([, name, content]) => [name as string, content as string])));
  for (const words of applying.flat()) await runForData(words, options);
  await using connection = openConnection(await stack.administrator());
  const [row] = await connection.sql`select invoices from read_model.invoice_total`;
  assert.equal(row?.["invoices"], 0n);
});

test("the SQL of sql/README.md runs as the application, and reads what it appended", async () => {
  await using database = await withDatabase();
  assert.deepEqual(await runSql(database, "sql/README.md"), ["OrderPlaced", "OrderPlaced"]);
});

test("no other README has SQL that is not run", () => {
  const withSql = [...readmes.values()].filter((readme) => blocksOf(readme, "sql").length > 0);
  assert.deepEqual(
    withSql.map(({ file }) => file),
    ["README.md", "sql/README.md"],
  );
});

test("the READMEs list every function that the application may call, with its parameters in order", async () => {
  await using database = await withDatabase();
  const functions = await database.sql<{ call: string }[]>`
    select format('%s(%s)', proname, array_to_string(
      array(select name from unnest(proargnames, coalesce(proargmodes, array_fill('i'::"char", array[pronargs::int])))
        as argument (name, mode) where mode in ('i', 'b')), ', ')) as call
    from pg_proc
    where pronamespace = 'event_store'::regnamespace and prorettype <> 'trigger'::regtype
      and (has_function_privilege(oid, 'execute') or proname in ('redact_event', 'begin_epoch'))
      and proname <> 'is_event'`;
  const cells = [...readmes.values()].flatMap(firstCellsOf);
  const listed = cells.flatMap((cell) => /^`([a-z_]+\([a-z_, ]*\))`$/.exec(cell)?.[1] ?? []);
  assert.deepEqual(listed.toSorted(), functions.map(({ call }) => call).toSorted());
});

test("sql/README.md names every column of an event that is read, in order", async () => {
  await using database = await withDatabase();
  const [row] = await database.sql<{ columns: string }[]>`
    select array_to_string(proargnames[array_position(proargmodes, 't'):], ',') as columns from pg_proc
    where oid = 'event_store.read_all'::regproc`;
  const text = readmes.get("sql/README.md")?.text ?? "";
  const [sentence = ""] = /`global_position`[^.;|]*`aggregate_key`/.exec(text) ?? [];
  const names = [...sentence.matchAll(/`(\w+)`/g)].map(([, name]) => name);
  assert.equal(names.join(","), row?.columns);
});

test("the TypeScript of every README passes the type check", async () => {
  const compilerOptions = { typeRoots: [join(assetsDir, "node_modules")] };
  const project = { extends: join(assetsDir, "tsconfig.json"), compilerOptions, include: ["./*.mts"] };
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify(project));
  const [program = "", ...args] = runtimeCommand("node_modules/typescript/bin/tsc");
  await run(program, [...args, "-p", dir]);
});

test("the READMEs of lib have an example with every function and class of the package", async () => {
  const examples = [events, testing]
    .flatMap((file) => blocksOf(readmes.get(file) as Readme, "ts"))
    .join("\n")
    .replaceAll(/^import \{[^}]*\}.*$/gm, "");
  const modules = await Promise.all(packageFiles.map((file) => import(join(assetsDir, file))));
  const names = modules.flatMap((module) => Object.keys(module));
  assert.ok(names.includes("appendEvents"));
  assert.deepEqual(
    names.filter((name) => !new RegExp(`\\b${name}\\b`).test(examples)),
    [],
  );
});

test("the README's TypeScript appends, reads and projects", async () => {
  await using stack = await withCluster();
  const output = await runExample(stack, "README.md");
  assert.match(output, /^1 42\n\{\s*total: "42",?\s*\}\n$/);
});

test("the TypeScript of the event store's README prints what it says, and projects", async () => {
  await using stack = await withCluster();
  const lines = (await runExample(stack, events)).trimEnd().split("\n");
  assert.equal(lines[0], "UE002 -1 1");
  assert.match(lines[1] ?? "", /^1 OrderPlaced \{ ?\n?/);
  assert.ok(lines.includes("InvoiceRequested 42"));
  assert.ok(lines.includes("0 since now"));
  assert.ok(lines.includes("cart-123"));
  assert.equal(lines.at(-9), "3", "the reader of a rewound log starts over");
  assert.deepEqual(lines.slice(-8), [
    "1 null",
    "42501",
    "0 2 1",
    "another writer was faster: version 3",
    "45",
    "serving 0 0",
    "0",
    "stopped",
  ]);
  const projected = await runForData(["projections", "run", "--once", "--module", moduleFile(events)], stack);
  assert.deepEqual(projected, {
    projections: [{ name: "order_total", version: 1, outcome: "caught-up", deadLetters: 0 }],
  });
  await using application = openConnection(await stack.application());
  const rows = await application.sql`select total::integer from order_total`;
  assert.deepEqual([...rows], [{ total: 42 }, { total: 42 }]);
});

test("the tests in the README about testing pass, and stop their server", async () => {
  await using folder = await makeTestServerFolder();
  const result = await runTestFile(
    { runtime: runtimeName, file: programFile(testing) },
    {
      env: { ...process.env, CQRS_STACK_DIR: folder.stackDir },
      workDir: folder.stackDir,
      timeoutMs: 120_000,
      signal: new AbortController().signal,
    },
  );
  assert.equal(result.failed, 0, result.output);
  assert.equal(
    result.passed,
    blocksOf(readmes.get(testing) as Readme, "ts")
      .join("")
      .match(/^test\(/gm)?.length,
  );
  await assert.rejects(testServerPid(folder));
});

/** @returns the types of the events that the SQL of a README reads */
async function runSql(database: TestDatabase, file: string): Promise<unknown[]> {
  const readme = readmes.get(file);
  assert.ok(readme, `${file} exists`);
  const pool = openPlainPool(database);
  try {
    const rows: Record<string, unknown>[] = [];
    for (const block of blocksOf(readme, "sql")) {
      // One result for one statement, a list for more.
      const results = [await pool.query(block)].flat() as { readonly rows: Record<string, unknown>[] }[];
      rows.push(...results.flatMap((result) => result.rows));
    }
    return rows.map((row) => row["event_type"]).filter(Boolean);
  } finally {
    await pool.end();
  }
}

/**
 * Writes the TypeScript of each README to files: blocks with an export become a module, as for
 * `projections run --module`, and all others one program.
 */
async function writeExamples(): Promise<void> {
  for (const readme of readmes.values()) {
    const blocks = blocksOf(readme, "ts");
    const isModule = (block: string) => /^export /m.test(block);
    await writeExample(
      programFile(readme.file),
      blocks.filter((block) => !isModule(block)),
    );
    await writeExample(moduleFile(readme.file), blocks.filter(isModule));
  }
}

async function writeExample(file: string, blocks: readonly string[]): Promise<void> {
  if (blocks.length === 0) return;
  await writeFile(file, blocks.join("\n"));
}

function programFile(readme: string): string {
  return join(dir, `${readme.replaceAll(/\W/g, "-")}.mts`);
}

function moduleFile(readme: string): string {
  return join(dir, `${readme.replaceAll(/\W/g, "-")}-module.mts`);
}

/** @returns what the program of a README prints */
async function runExample(stack: TestStack, readme: string): Promise<string> {
  const env = { ...process.env, CQRS_STACK_DIR: stack.stackDir };
  const [program = "", ...args] = runtimeCommand(programFile(readme));
  const { stdout } = await run(program, args, { env });
  return stdout;
}

/** @returns the words of each `bun run` command, without its comment */
function commandsOf(lines = ""): string[][] {
  return lines
    .trim()
    .split("\n")
    .map((line) =>
      line
        .replace(/\s+#.*$/, "")
        .replace(/^bun run /, "")
        .split(" "),
    );
}
