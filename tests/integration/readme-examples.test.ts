// Runs what the README shows of the event store, so that it stays true.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { packageDir } from "../../scripts/lib/config.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openPlainPool } from "../support/plain-client.ts";
import { runtimeCommand } from "../support/runtime.ts";
import { withCluster } from "../support/stack.ts";

const run = promisify(execFile);
const readme = await readFile(join(packageDir, "README.md"), "utf8");
let database: TestDatabase;
let dir: string;
before(async () => {
  database = await withDatabase();
  // In the project: elsewhere, Deno finds no dependencies.
  dir = await mkdtemp(join(packageDir, "tests/.readme-"));
});
after(async () => {
  await rm(dir, { recursive: true, force: true });
  await database[Symbol.asyncDispose]();
});

function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
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

test("the README's TypeScript passes the type check, and prints what it says", async () => {
  const file = join(dir, "example.mts");
  const index = join(packageDir, "scripts/lib/index.ts");
  await writeFile(file, blocks("ts").join("\n").replace('"cqrs-postgres"', JSON.stringify(index)));
  await checkTypes();
  await using stack = await withCluster();
  const [program = "", ...args] = runtimeCommand(file);
  const { stdout } = await run(program, args, { env: { ...process.env, CQRS_STACK_DIR: stack.stackDir } });
  const lines = stdout.trimEnd().split("\n");
  assert.match(lines[1] ?? "", /^1 OrderPlaced \{ ?\n?/);
  assert.equal(lines[0], "UE002 -1 1");
  assert.equal(lines.at(-1), "0 2 1");
});

async function checkTypes(): Promise<void> {
  const compilerOptions = { typeRoots: [join(packageDir, "node_modules")] };
  const project = { extends: join(packageDir, "tsconfig.json"), compilerOptions, include: ["./*.mts"] };
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify(project));
  const [program = "", ...args] = runtimeCommand("node_modules/typescript/bin/tsc");
  await run(program, [...args, "-p", dir]);
}
