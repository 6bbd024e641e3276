import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { symptoms } from "../../scripts/lib/doctor/finding.ts";
import { repairAll } from "../../scripts/lib/doctor/repair.ts";
import type { DoctorReport } from "../../scripts/lib/doctor/report.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { type DiagnosedPlace, diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { bootstrapTestStack, makeTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";
import { jsonContract, symptomContract } from "../unit/contracts.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

interface FailedRun {
  readonly ok: boolean;
  readonly error: { readonly code: string; readonly message: string; readonly fix: string };
  readonly data: DoctorReport;
}

test("each cause has a test that produces it, and a row in infrastructure/README.md", async () => {
  const causes = await readFolder("scripts/lib/doctor", () => true);
  const ids = [...causes.matchAll(/\bid: "([a-z-]+)"/g)].map(([, id = ""]) => id);
  const tests = await readFolder("tests", (name) => /doctor[a-z-]*\.test\.ts$/.test(name));
  const [, section = ""] = (await readFile(join(assetsDir, "infrastructure/README.md"), "utf8")).split(
    "\n## Troubleshooting\n",
  );
  assert.ok(ids.length > 0);
  for (const id of ids) {
    assert.match(tests, new RegExp(`"${id}"`), `a test finds ${id}`);
    assert.ok(section.includes(`| \`${id}\``), `infrastructure/README.md explains ${id}`);
  }
  const rows = [...section.matchAll(/^\| `([a-z-]+)`/gm)].map(([, id]) => id);
  assert.deepEqual(rows.toSorted(), [...new Set(ids)].toSorted());
});

async function readFolder(folder: string, isWanted: (name: string) => boolean): Promise<string> {
  const names = await readdir(join(assetsDir, folder), { recursive: true });
  const files = names.filter((name) => name.endsWith(".ts") && isWanted(name));
  return (await Promise.all(files.map((name) => readFile(join(assetsDir, folder, name), "utf8")))).join("\n");
}

test("nothing is found on a healthy stack, everything is checked, and the exit code is 0", async () => {
  const text = await runScript(["doctor"], stack);
  assert.deepEqual([text.exitCode, text.stdout], [0, "no problem found\n"], text.stderr);
  const data = await runForData<DoctorReport>(["doctor", "--fix"], stack);
  assert.deepEqual(Object.keys(data), [...jsonContract.doctor]);
  assert.deepEqual(data, { ok: true, findings: [], notChecked: [], repairs: [] });
  assert.deepEqual(symptoms, symptomContract);
});

test("a problem exits with 11; --fix asks, repairs, and looks again", async () => {
  const state = join(stack.stackDir, "state.json");
  await writeFile(state, "{");
  const text = await runScript(["doctor"], stack);
  assert.equal(text.exitCode, 11, text.stderr);
  assert.match(
    text.stdout,
    /^state-unreadable \(does not start\): Cannot read .*state\.json\.\n {4}.+\n {4}fix: Put back a copy .* Or use --fix\.\nnot checked: port, vault, server, settings, sessions, credentials, schema, log, projections: Cannot read /,
  );
  assert.match(text.stderr, /^error: 1 problem: state-unreadable\n {2}fix: Run bun run doctor --fix, or/m);

  const refused = JSON.parse((await runScript(["doctor", "--fix", "--json"], stack)).stdout) as FailedRun;
  assert.equal(refused.error.code, "REFUSED");
  assert.match(refused.error.fix, /doctor --fix --json --yes$/);
  const [finding] = refused.data.findings;
  assert.deepEqual(Object.keys(finding ?? {}), [...jsonContract.doctorFinding]);
  assert.deepEqual(Object.keys(refused.data.notChecked[0] ?? {}), [...jsonContract.doctorUnchecked]);

  const fixed = await runForData<DoctorReport>(["doctor", "--fix", "--yes"], stack);
  assert.deepEqual([fixed.ok, fixed.findings], [true, []]);
  assert.deepEqual(Object.keys(fixed.repairs[0] ?? {}), [...jsonContract.doctorRepair]);
  assert.deepEqual(fixed.repairs, [{ description: finding?.repair, error: null }]);
});

for (const [damage, content] of [
  ["cut off", '{ "mode": "embed'],
  ["empty", ""],
  ["of another program", '{ "version": 4 }'],
] as const) {
  test(`a state file that is ${damage} is found and written again`, async () => {
    await writeFile(join(stack.stackDir, "state.json"), content);
    await finds(
      "state-unreadable",
      { evidence: /./, fix: /^Put back a copy of it.*bootstrap with the --mode, --database/ },
      stack,
    );
    await repair(stack);
    await isHealthy(stack);
  });
}

/** Runs the repairs, and asserts that all of them are refused and that the state stays as it is. */
async function refuses(place: DiagnosedPlace, reason: RegExp): Promise<void> {
  const file = join(place.stackDir, "state.json");
  const state = await readFile(file, "utf8");
  const repairs = await repairAll(await diagnosePlace(place), silentRun, { confirm: async () => {} });
  assert.ok(repairs.length > 0, "there is a repair");
  for (const { error } of repairs) assert.match(error ?? "", reason);
  assert.equal(await readFile(file, "utf8"), state);
}

test("a new state with other names than those in the secret is refused, and written once the settings have them", async () => {
  await using named = await makeTestStack();
  const names = { database: "shop", user: "shopper" };
  await bootstrapTestStack(named.stackDir, names);
  const file = join(named.stackDir, "state.json");
  await writeFile(file, "{");
  await refuses(
    named,
    /re-points applications from the database shop to cqrs_db; .*from the login shopper to cqrs_user/,
  );
  const user = { POSTGRES_USER: names.user };
  await refuses({ ...named, env: user }, /re-points applications from the database shop/);
  await repair({ ...named, env: { ...user, POSTGRES_DB: names.database } });
  const { mode, database, user: login } = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  assert.deepEqual({ mode, database, user: login }, { mode: "embedded", ...names });
  assert.equal(await readFile(`${file}.damaged`, "utf8"), "{");
  await isHealthy(named);
});

test("a damaged state is not replaced if nothing else shows that the server is embedded", async () => {
  await using lost = await makeTestStack();
  await writeFile(join(lost.stackDir, "state.json"), "");
  for (const env of [{ DATABASE_URL: "postgres://me@127.0.0.1:1/shop" }, { CQRS_MODE: "external" }, {}]) {
    const found = await finds("state-unreadable", { evidence: /./, fix: /with the --mode/ }, { ...lost, env });
    assert.equal(found.repair, undefined);
  }
  await rm(join(lost.stackDir, "state.json"));
});

test("--fix does not start a stopped server with another database, login, or place of secrets", async () => {
  await runForData(["stop"], stack);
  for (const [env, reason] of [
    [{ POSTGRES_DB: "other" }, /re-points applications from the database cqrs_db to other/],
    [{ POSTGRES_USER: "other" }, /re-points applications from the login cqrs_user to other/],
    [{ CQRS_SECRETS: "vault" }, /moves the secrets from file to local-vault/],
  ] as const)
    await refuses({ ...stack, env }, reason);
  await repair(stack);
  await isHealthy(stack);
});

test("a state file that cannot be read is found, and is healthy once that is put right", async () => {
  const file = join(stack.stackDir, "state.json");
  const content = await readFile(file, "utf8");
  await rm(file);
  await mkdir(file);
  await finds("state-unusable", { evidence: /It is a folder, not a file/, fix: /Move that folder/ }, stack);
  await rm(file, { recursive: true });
  await writeFile(file, content);
  await isHealthy(stack);
});

test("an area that takes too long is not checked, and the others are", async () => {
  const { findings, notChecked } = await diagnosePlace(stack, { limits: { probeTimeoutMs: 0 } });
  assert.deepEqual(findings, []);
  assert.ok(notChecked.some(({ area, reason }) => area === "server" && reason === "it did not finish within 0 s"));
});

test("a Docker that hangs is found once, its areas are skipped, and nothing is left waiting", async () => {
  await using place = await makeTestStack();
  // Only the shell is killed, as the plugins of a docker command may survive it.
  await writeFile(join(place.stackDir, "docker"), "#!/bin/sh\nsleep 60\n", { mode: 0o755 });
  const env = { PATH: `${place.stackDir}:${process.env["PATH"]}` };
  const startedAt = performance.now();
  const { stdout } = await runScript(["doctor", "--mode", "compose", "--json"], { ...place, env });
  assert.ok(performance.now() - startedAt < 45_000, "it does not wait for each area");
  const { data } = JSON.parse(stdout) as FailedRun;
  const [found] = data.findings.filter(({ id }) => id === "docker-not-running");
  assert.match(found?.evidence ?? "", /did not end within 10 s/);
  assert.ok(data.notChecked.some(({ area, reason }) => area === "containers" && /does not answer/.test(reason)));
});

test("a folder without a stack is found, and --fix sets one up", async () => {
  await using empty = await makeTestStack();
  await finds("not-set-up", { evidence: /neither .*postgres\/data nor state\.json/, fix: /bootstrap/ }, empty);
  await repair(empty);
  await isHealthy(empty);
});

test("a server that was stopped is found, and --fix starts it", async () => {
  await runForData(["stop"], stack);
  await finds("server-stopped", { evidence: /No server is running/, fix: /bootstrap/ }, stack);
  await repair(stack);
  await isHealthy(stack);
});

test("settings that cannot be used are found, and a wrong flag is wrong usage", async () => {
  const env = { POSTGRES_PORT: "many" };
  const run = await runScript(["doctor", "--json"], { ...stack, env });
  const { error, data } = JSON.parse(run.stdout) as FailedRun;
  assert.deepEqual([run.exitCode, error.code, data.findings[0]?.id], [11, "DIAGNOSIS", "configuration-invalid"]);
  assert.match(data.findings[0]?.evidence ?? "", /POSTGRES_PORT must be a number/);
  assert.equal((await runScript(["doctor", "--mode", "clouds"], stack)).exitCode, 2);
  assert.equal((await runScript(["doctor"], stack)).exitCode, 0);
});
