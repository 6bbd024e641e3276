import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openEventStore } from "../../scripts/lib/event-store/store.ts";
import { type ChaosReport, checkReport, createCounters, disturb } from "../support/chaos.ts";
import { openFaultProxy } from "../support/fault-proxy.ts";
import { checkJournal } from "../support/projection.ts";
import { type ScriptRun, type StartedScript, startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { withCluster } from "../support/stack.ts";

/** How long after the last fault everything must be done. */
const recoveryMs = 60_000;

test("when sessions end in every way, every sum is exact, nothing hangs, and the process survives", async () => {
  await using stack = await withCluster();
  const { port, ...login } = await stack.application();
  await using proxy = await openFaultProxy(port);
  await createCounters(await stack.administrator());
  for (let round = 0; round < testRounds(1); round++) {
    const args = [JSON.stringify({ ...login, port: proxy.port })];
    const program = startProgram("tests/support/fixtures/session-chaos.ts", args);
    await program.saw("started");
    await disturb({ stack, proxy, program, login: login.user });
    const { exitCode, stdout, stderr } = await complete(program);
    // The library may log what it lost and retried. Everything else is an error that nobody caught.
    const others = stderr.split("\n").filter((line) => !line.startsWith("cqrs-postgres: "));
    assert.deepEqual({ exitCode, others }, { exitCode: 0, others: ["started", ""] });
    const report: ChaosReport = JSON.parse(stdout);
    await using store = openEventStore({ ...login, port });
    await checkReport(store.sql, report);
    for (const outcome of ["stored", "taken-back", "lost"]) {
      assert.ok(
        report.appends.some((append) => append.counter !== null && append.outcome === outcome),
        outcome,
      );
    }
    await checkJournal(store, "chaos");
    const [row] = await store.sql`
      select total, (select sum((event_data ->> 'total')::bigint) from event_store.domain_event)::bigint as expected
      from read_model.chaos_total`;
    assert.equal(row?.["total"], row?.["expected"]);
  }
});

/** Lets the program complete its work, and kills it if that takes too long. */
async function complete(program: StartedScript): Promise<ScriptRun> {
  program.kill("SIGTERM");
  const completed = new AbortController();
  const killing = sleep(recoveryMs, undefined, { signal: completed.signal }).then(
    () => program.kill("SIGKILL"),
    () => undefined,
  );
  const run = await program.ended;
  completed.abort();
  await killing;
  return run;
}
