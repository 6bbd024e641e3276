// Runs what the README shows of the event store, so that it stays true.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openPlainPool } from "../support/plain-client.ts";
import { runForData } from "../support/run-script.ts";
import { runtimeCommand } from "../support/runtime.ts";
import { withCluster } from "../support/stack.ts";

const run = promisify(execFile);
const readme = await readFile(join(assetsDir, "README.md"), "utf8");
let database: TestDatabase;
let dir: string;
before(async () => {
  database = await withDatabase();
  // In the project: elsewhere, Deno finds no dependencies.
  dir = await mkdtemp(join(assetsDir, "tests/.readme-"));
});
after(async () => {
  await rm(dir, { recursive: true, force: true });
  await database[Symbol.asyncDispose]();
});

function blocks(language: string, section = readme): string[] {
  return [...section.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
    ([, text = ""]) => text,
  );
}

test("the README's SQL runs as the application, and reads what it appended", async () => {
  const pool = openPlainPool(database);
  try {
    const rows: Record<string, unknown>[] = [];
    for (const block of blocks("sql")) {
      const results = await pool.query(block);
      rows.push(...(results as unknown as { rows: Record<string, unknown>[] }[]).flatMap((result) => result.rows));
    }
    const types = rows.map((row) => row["event_type"]).filter(Boolean);
    assert.deepEqual(types, ["OrderPlaced", "OrderPlaced", "OrderPlaced"]);
  } finally {
    await pool.end();
  }
});

test("the README lists every function that the application may call, with its parameters in their order", async () => {
  const functions = await database.sql<{ call: string }[]>`
    select format('%s(%s)', proname, array_to_string(
      array(select name from unnest(proargnames, coalesce(proargmodes, array_fill('i'::"char", array[pronargs::int])))
        as argument (name, mode) where mode in ('i', 'b')), ', ')) as call
    from pg_proc
    where pronamespace = 'event_store'::regnamespace and prorettype <> 'trigger'::regtype
      and (has_function_privilege(oid, 'execute') or proname = 'redact_event')
      and proname <> 'is_event'`;
  const listed = [...readme.matchAll(/^\| `([a-z_]+\([a-z_, ]*\))` +\|/gm)].map(([, call]) => call);
  assert.deepEqual(listed.toSorted(), functions.map(({ call }) => call).toSorted());
});

test("the README names every column of an event that is read, in their order", async () => {
  const [row] = await database.sql<{ columns: string }[]>`
    select array_to_string(proargnames[array_position(proargmodes, 't'):], ',') as columns from pg_proc
    where oid = 'event_store.read_all'::regproc`;
  const sentence = /that are read have the columns ([^;.]*)\./.exec(readme)?.[1] ?? "";
  assert.deepEqual([...sentence.matchAll(/`(\w+)`/g)].map(([, name]) => name).join(","), row?.columns);
});

test("the README's TypeScript passes the type check, prints what it says, and projects", async () => {
  const example = await writeExample("The event store, in TypeScript");
  const projection = await writeExample("Projections");
  await checkTypes();
  await using stack = await withCluster();
  const env = { ...process.env, CQRS_STACK_DIR: stack.stackDir };
  const [program = "", ...args] = runtimeCommand(example);
  const { stdout } = await run(program, args, { env });
  const lines = stdout.trimEnd().split("\n");
  assert.match(lines[1] ?? "", /^1 OrderPlaced \{ ?\n?/);
  assert.equal(lines[0], "UE002 -1 1");
  assert.equal(lines.at(-1), "0 2 1");
  const projected = await runForData(["projections", "run", "--once", "--module", projection], stack);
  assert.deepEqual(projected, { projections: [{ name: "order_total", version: 1, outcome: "caught-up" }] });
  await using application = openConnection(await stack.application());
  const rows = await application.sql`select total::integer from order_total`;
  assert.deepEqual([...rows], [{ total: 42 }, { total: 42 }]);
});

/** Writes the TypeScript of a section into a file of its own. @returns its path */
async function writeExample(title: string): Promise<string> {
  const [section = ""] = readme
    .split(`\n## ${title}\n`)
    .slice(1)
    .map((rest) => rest.split("\n## ")[0] ?? "");
  const file = join(dir, `${title.replaceAll(/\W/g, "")}.mts`);
  const index = join(assetsDir, "scripts/lib/index.ts");
  await writeFile(file, blocks("ts", section).join("\n").replace('"cqrs-postgres"', JSON.stringify(index)));
  return file;
}

async function checkTypes(): Promise<void> {
  const compilerOptions = { typeRoots: [join(assetsDir, "node_modules")] };
  const project = { extends: join(assetsDir, "tsconfig.json"), compilerOptions, include: ["./*.mts"] };
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify(project));
  const [program = "", ...args] = runtimeCommand("node_modules/typescript/bin/tsc");
  await run(program, [...args, "-p", dir]);
}
