import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { eventually } from "../support/projection.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";
import { makeTestStack, withCluster } from "../support/stack.ts";

test("a second run reports whom it waits for; Ctrl-C ends both without an error", async () => {
  await using stack = await withCluster();
  await runForData(["seed"], stack);
  const first = startScript(["projections", "run"], stack);
  const second = startScript(["projections", "run"], stack);
  // Either of them may be the one that runs the projection.
  await Promise.any([first, second].map(({ saw }) => saw("order_summary version 2: waiting for ")));
  for (const { kill } of [first, second]) kill("SIGINT");
  for (const { exitCode, stdout, stderr } of await Promise.all([first.ended, second.ended])) {
    assert.deepEqual([exitCode, stdout], [130, "order_summary version 2: stopped\n"]);
    assert.doesNotMatch(stderr, /error/);
  }
});

test("an interrupted rebuild does not claim to serve, and prints one object with --json", async () => {
  await using stack = await withCluster();
  await runForData(["seed"], stack);
  const module = join(stack.stackDir, "slow.ts");
  const example = pathToFileURL(join(assetsDir, "scripts/lib/demo/order-summary.ts")).href;
  await writeFile(
    module,
    `import { orderSummary } from "${example}";
    export const slow = {
      ...orderSummary,
      version: 3,
      batchSize: 10,
      async handle() {
        console.error("handling");
        await new Promise((resolve) => setTimeout(resolve, 500));
      },
    };`,
  );
  const rebuild = ["projections", "rebuild", "--module", module];
  const interrupted = startScript([...rebuild, "--json"], stack);
  await interrupted.saw("handling");
  interrupted.kill("SIGINT");
  const { exitCode, stdout } = await interrupted.ended;
  const { ok, error, data } = JSON.parse(stdout);
  assert.deepEqual([exitCode, ok, error.code], [130, false, "INTERRUPTED"]);
  assert.deepEqual(data.projections, [
    { name: "order_summary", version: 3, outcome: "stopped", deadLetters: 0, replacedVersion: 2 },
  ]);

  const again = startScript(rebuild, stack);
  await again.saw("handling");
  again.kill("SIGINT");
  const text = await again.ended;
  assert.equal(text.stdout, "order_summary: version 3 is not serving yet: stopped\n");
  assert.match(text.stderr, /^error: Stopped by SIGINT$/m);
});

test("a mistyped name is answered with the names of the projections", async () => {
  const { exitCode, stderr } = await runScript(["projections", "run", "order_sumary"], { stackDir: "/nonexistent" });
  assert.equal(exitCode, 2, stderr);
  assert.match(stderr, /^error: There is no projection order_sumary\n {2}why: The example exports: order_summary\.$/m);
  const fix = "Choose one of: order_summary. Or pass the module that exports it: --module <path>.";
  assert.match(stderr, new RegExp(`^ {2}fix: ${fix}$`, "m"));
});

test("a module that cannot be loaded is reported with its errors, and a missing one as missing", async () => {
  await using stack = await makeTestStack();
  const run = (module: string) => runScript(["projections", "run", "--module", module], stack);
  const broken = join(stack.stackDir, "broken.ts");
  await writeFile(broken, "export const projection = {;\n");
  const syntax = await run(broken);
  assert.equal(syntax.exitCode, 2, syntax.stderr);
  assert.ok(syntax.stderr.startsWith(`error: The module ${broken} cannot be loaded\n`), syntax.stderr);
  assert.match(syntax.stderr, /broken\.ts:1:28/);
  assert.match(syntax.stderr, /^ {2}fix: Fix the error in it\.$/m);

  await writeFile(broken, 'import "./gone.ts";\n');
  const dependency = await run(broken);
  assert.equal(dependency.exitCode, 2, dependency.stderr);
  assert.match(dependency.stderr, /gone\.ts/);
  assert.match(dependency.stderr, /^ {2}fix: Fix the error in it\.$/m);

  for (const path of [join(stack.stackDir, "missing.ts"), stack.stackDir]) {
    const { exitCode, stderr } = await run(path);
    assert.equal(exitCode, 2, stderr);
    assert.ok(stderr.startsWith(`error: There is no module ${path}\n  fix: Pass the path of a module`), stderr);
  }
});

test("an invalid definition is reported without blaming the database", async () => {
  await using stack = await withCluster();
  const module = join(stack.stackDir, "invalid.ts");
  await writeFile(module, 'export const journal = { name: "journal", version: 0, async handle() {} };\n');
  const { exitCode, stderr } = await runScript(["projections", "run", "--once", "--module", module], stack);
  assert.equal(exitCode, 2, stderr);
  const message = "version of the projection journal must be an integer of at least 1, not 0";
  assert.equal(stderr, `error: ${message}\n  fix: Fix the definition in the module.\n`);
});

test("list separates projections by a blank line", async () => {
  await using stack = await withCluster();
  const module = join(stack.stackDir, "two.ts");
  await writeFile(
    module,
    `export const first = { name: "first", version: 1, async handle() {} };
    export const second = { ...first, name: "second" };`,
  );
  await runForData(["projections", "run", "--once", "--module", module], stack);
  const { exitCode, stdout } = await runScript(["projections", "list"], stack);
  assert.equal(exitCode, 0);
  const records = stdout.split("\n\n").map((record) => record.split("\n")[0]);
  assert.deepEqual(
    records.map((line) => line?.replace(/,.*/, "")),
    ["projection  first version 1", "projection  second version 1"],
  );
});

test("seed and projections report once that the server is stopped, and what starts it", async () => {
  await using stack = await withCluster();
  await runForData(["stop"], stack);
  for (const words of [["projections", "list"], ["seed"]]) {
    const { exitCode, stderr } = await runScript(words, stack);
    assert.equal(exitCode, 3, stderr);
    assert.match(stderr, /^error: PostgreSQL is not running\n/);
    assert.equal(stderr.match(/bun run bootstrap/g)?.length, 1, stderr);
  }
});

/** Writes a module of one projection. @returns its path */
async function writeModule(stackDir: string, name: string, code: string): Promise<string> {
  const path = join(stackDir, `${name}.ts`);
  await writeFile(path, code);
  return path;
}

test("run --once reports dead letters on stderr and in its exit code; the module's upcasters apply, and replay", async () => {
  await using stack = await withCluster();
  await runForData(["seed"], stack);
  const code = (upcaster: string, version = 1) => `
    export const upcasters = { OrderPlaced: { 1: { into: { OrderBegun: 1 }, rewrite: ${upcaster} } } };
    export const totals = {
      name: "totals", version: ${version}, events: ["OrderBegun"], maxAttempts: 1,
      relations: { names: ["totals"], create: (tx) => tx\`create table totals (id uuid, data text)\` },
      async handle(events, tx) {
        for (const { id, data } of events) await tx\`insert into totals values (\${id}, \${JSON.stringify(data)})\`;
      },
    };`;
  const module = await writeModule(stack.stackDir, "failing", code('() => { throw new Error("cannot convert"); }'));
  const failed = await runScript(["projections", "run", "--once", "--module", module], stack);
  assert.equal(failed.exitCode, 12, failed.stderr);
  assert.match(failed.stdout, /^totals version 1: caught up; dead letters: \d+\n$/);
  const lines = failed.stderr.match(
    /^cqrs-postgres: projection totals: .* became a dead letter after 1 attempt: .*$/gm,
  );
  assert.equal(`${lines?.length}`, /\d+\n$/.exec(failed.stdout)?.[0].trim());
  const fixed = await writeModule(stack.stackDir, "fixed", code('() => [{ type: "OrderBegun", data: 42 }]'));
  const replayed = await runScript(["projections", "replay", "--module", fixed], stack);
  assert.match(replayed.stdout, /^totals: \d+ replayed, 0 dead letters left\n$/, replayed.stderr);
  const again = await runScript(["projections", "run", "--once", "--module", fixed], stack);
  assert.deepEqual([again.exitCode, again.stdout], [0, "totals version 1: caught up\n"]);
  await using session = openConnection(await stack.application());
  const data = await session.sql`select distinct data from read_model.totals`;
  assert.deepEqual([...data], [{ data: "42" }]);
  const next = await writeModule(stack.stackDir, "next", code('() => [{ type: "OrderBegun", data: 43 }]', 2));
  const rebuilt = await runScript(["projections", "rebuild", "--module", next], stack);
  assert.equal(rebuilt.exitCode, 0, rebuilt.stderr);
  const dataAfter = await session.sql`select distinct data from read_model.totals`;
  assert.deepEqual([...dataAfter], [{ data: "43" }]);

  // Upcasters that are none, and failures of other code, are reported without blaming the server.
  const projection = 'name: "odd", version: 1, async handle() {}';
  const wrong = await writeModule(
    stack.stackDir,
    "wrong",
    `export const upcasters = { A: () => 1 };\nexport const odd = { ${projection} };`,
  );
  const refused = await runScript(["projections", "run", "--once", "--module", wrong], stack);
  assert.equal(refused.exitCode, 2, refused.stderr);
  assert.match(refused.stderr, /^error: The export upcasters of the module is no set of upcasters$/m);
  assert.match(refused.stderr, /^ {2}why: upcasters of A is a function; it must be a plain object of upcasters /m);
  const refresh = 'refresh: () => Promise.reject(Object.assign(new Error("away"), { code: "ECONNREFUSED" }))';
  const failing = await writeModule(stack.stackDir, "away", `export const odd = { ${projection}, ${refresh} };`);
  const away = await runScript(["projections", "run", "--once", "--module", failing], stack);
  assert.equal(away.exitCode, 1, away.stderr);
  assert.match(away.stderr, /^error: Error: away\n {2}why: The create or refresh of a projection failed\./m);
});

test("remove asks, refuses while a run holds the lease, and removes one version or all", async () => {
  await using stack = await withCluster();
  await runForData(["seed"], stack);
  const remove = ["projections", "remove", "order_summary"];
  const asked = await runScript(remove, stack);
  assert.equal(asked.exitCode, 8, asked.stderr);
  assert.match(
    asked.stderr,
    /removes: order_summary version 2, serving \(read_model\.order_summary, .*; dead letters: 0\)/,
  );
  assert.match(asked.stderr, /^ {2}fix: Run bun run projections remove order_summary --yes$/m);
  const other = await runScript([...remove, "--version", "3", "--yes"], stack);
  assert.equal(other.exitCode, 2, other.stderr);
  assert.match(other.stderr, /^error: There is no version 3 of the projection order_summary$/m);
  assert.equal((await runScript(["projections", "remove"], stack)).exitCode, 2);

  await using session = openConnection(await stack.application());
  const running = startScript(["projections", "run"], stack);
  await eventually(
    async () =>
      (
        await session.sql`
    select from read_model.projection_version where owner is not null`
      ).length === 1,
  );
  const locked = await runScript([...remove, "--yes"], stack);
  assert.equal(locked.exitCode, 5, locked.stderr);
  assert.match(locked.stderr, /^error: version 2 of the projection order_summary is running$/m);
  running.kill("SIGTERM");
  await running.ended;

  const removed = await runForData<{ versions: unknown[] }>([...remove, "--version", "2", "--yes"], stack);
  assert.equal(removed.versions.length, 1);
  assert.deepEqual(await runForData(["projections", "list"], stack), { projections: [] });
  const [left] = await session.sql`select to_regclass('read_model.order_summary') as name`;
  assert.deepEqual(left, { name: null });
});
