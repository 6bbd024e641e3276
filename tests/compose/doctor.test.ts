import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { findHalfInitialised } from "../../scripts/lib/doctor/causes/compose.ts";
import type { DoctorReport, FoundCause } from "../../scripts/lib/doctor/report.ts";
import { type ComposeStack, makeComposeStack, mustRun, run, until } from "../support/compose.ts";
import { copyProject } from "../support/project-copy.ts";
import { startProgram } from "../support/run-script.ts";

type Environment = Readonly<Record<string, string>>;

let stack: ComposeStack;

before(async () => {
  stack = await makeComposeStack();
  await quickenHealthChecks();
  await must("bootstrap");
});
after(() => stack?.[Symbol.asyncDispose]());

/** A healthy container is looked at every 30 seconds, and is unhealthy after 15 failures. */
async function quickenHealthChecks(): Promise<void> {
  const file = join(stack.dir, "docker-compose.yml");
  const text = await readFile(file, "utf8");
  const quick = text.replaceAll("sleep 28", "sleep 0.2").replaceAll("retries: 15", "retries: 2");
  assert.ok(quick.includes("sleep 0.2") && quick.includes("retries: 2"));
  await writeFile(file, quick.replaceAll("interval: 2s", "interval: 1s"));
}

/** Runs a script of the stack's folder, in compose mode. */
function script(words: readonly string[], change: Environment = {}, { dir, env } = stack) {
  const [name, ...args] = words;
  return startProgram(join(dir, `scripts/${name}.ts`), args, { env: { ...env, CQRS_MODE: "compose", ...change } })
    .ended;
}

async function must(...words: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await script(words);
  assert.equal(exitCode, 0, `${words.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

async function report(change: Environment = {}, from = stack): Promise<DoctorReport> {
  const { stdout, stderr } = await script(["doctor", "--json"], change, from);
  const { data } = JSON.parse(stdout || "{}") as { data?: DoctorReport };
  assert.ok(data, stderr);
  return data;
}

async function finds(
  id: string,
  expected: { readonly evidence: RegExp; readonly fix: RegExp; readonly cause?: RegExp },
  change: Environment = {},
  from = stack,
): Promise<FoundCause> {
  const diagnosis = await report(change, from);
  const found = diagnosis.findings.find((finding) => finding.id === id);
  assert.ok(found, `${id} is found: ${JSON.stringify(diagnosis)}`);
  assert.match(found.evidence, expected.evidence);
  assert.match(found.fix, expected.fix);
  assert.match(found.cause, expected.cause ?? /\.$/);
  return found;
}

async function isHealthy(change: Environment = {}, from = stack): Promise<void> {
  assert.deepEqual((await report(change, from)).findings, []);
}

const docker = async (...words: string[]) => mustRun(words.join(" "), await run("docker", words, { env: stack.env }));
const inServer = (...words: string[]) => stack.mustCompose("exec", "-T", "postgres", ...words);

test("nothing is found while the containers are healthy; without Docker, doctor says what is missing", async () => {
  await isHealthy();
  await finds(
    "docker-missing",
    { evidence: /ENOENT/, fix: /Install Docker Engine/ },
    { PATH: dirname(process.execPath) },
  );
  const nowhere = { DOCKER_HOST: "unix:///nonexistent/docker.sock" };
  await finds("docker-not-running", { evidence: /docker\.sock/, fix: /^Start it \(sudo systemctl/ }, nowhere);
  const programs = join(stack.dir, "programs");
  await mkdir(programs, { recursive: true });
  // Configuration cannot hide a system-wide plugin, so a wrapper pretends that there is none.
  const refusal =
    '#!/bin/sh\n[ "$1" != compose ] || { echo "docker: \'compose\' is not a docker command." >&2; exit 1; }\n';
  await writeFile(join(programs, "docker"), `${refusal}PATH=\${PATH#*:} exec docker "$@"\n`, { mode: 0o755 });
  const expected = { evidence: /is not a docker command/, fix: /Install docker-compose-plugin/ };
  await finds("docker-compose-missing", expected, { PATH: `${programs}:${process.env["PATH"]}` });
});

test("logs and psql work with the containers, from the host and in the init container", async () => {
  assert.match(
    await must("logs", "--lines", "1000000"),
    /^\S*postgres\S* +\|.*\n[\s\S]*database system is ready to accept connections/m,
  );
  // Docker merges stdout and stderr in any order; without a choice, each line begins with its container.
  assert.match(await must("logs", "init", "--lines", "30"), /^(?!\S+ +\|)[\s\S]*ready/);
  const following = startProgram(join(stack.dir, "scripts/logs.ts"), ["postgres", "--follow", "--lines", "0"], {
    env: { ...stack.env, CQRS_MODE: "compose" },
  });
  let shown = "";
  following.child.stdout?.on("data", (text: string) => {
    shown += text;
  });
  const failing = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-c", "select password 'hidden' / 0 as followed"];
  await until("the line is shown", async () => {
    await stack.compose("exec", "-T", "postgres", ...failing);
    return shown.includes("as followed");
  });
  following.kill("SIGINT");
  assert.deepEqual([(await following.ended).exitCode, shown.includes("hidden")], [130, false]);
  const query = "select session_user, count(*) from event_store.domain_event group by 1 union select 'none', 1";
  assert.match(await must("psql", "-c", query), / none +\| +1\n/);
  const inContainer = await stack.mustCompose("run", "--rm", "-T", "init", "psql", "-c", "select null as nothing");
  assert.match(inContainer, / nothing\n-+\n NULL\n\(1 row\)\n/);
  const elsewhere = await stack.compose("run", "--rm", "-T", "init", "logs");
  assert.equal(elsewhere.exitCode, 2);
  assert.match(elsewhere.stderr, /fix: On the host of the containers, run docker compose logs postgres/);
});

test("a second clone with the same project name is found until it has a name of its own", async () => {
  await using copy = await copyProject();
  const second = { ...stack, dir: copy.dir };
  const expected = { evidence: new RegExp(`started from ${stack.dir}`), fix: /set COMPOSE_PROJECT_NAME/ };
  await finds("compose-project-shared", expected, {}, second);
  const { findings } = await report({ COMPOSE_PROJECT_NAME: `${stack.project}-2` }, second);
  assert.ok(!findings.some(({ id }) => id === "compose-project-shared"));
});

test("a superuser's password that the data volume does not have is found, and --fix sets it", async () => {
  await inServer(
    "psql",
    "-h",
    "127.0.0.1",
    "-U",
    "postgres",
    "-c",
    "alter role postgres password 'of-an-older-volume'",
  );
  const expected = { evidence: /password authentication failed/, fix: /docker compose -p \S+ exec -T postgres sh \// };
  await finds("volume-password-old", expected);
  // It looks again, and fails if something is left.
  const { repairs } = JSON.parse(await must("doctor", "--fix", "--yes", "--json")).data as DoctorReport;
  assert.equal(repairs.length, 1, "no other area reports it");
});

test("a container that is unhealthy is found with the last lines of its log", async () => {
  const rules = "$PGDATA/pg_hba.conf";
  const asServer = (words: string) =>
    stack.mustCompose("exec", "-T", "--user", "postgres", "postgres", "sh", "-c", words);
  const reload = "kill -HUP 1";
  const refuse = "{ echo 'host all postgres 127.0.0.1/32 reject'; cat /tmp/rules; } >";
  await asServer(`cat "${rules}" >/tmp/rules && ${refuse}"${rules}" && ${reload}`);
  await until("it is unhealthy", async () => {
    const words = ["inspect", "--format", "{{.State.Health.Status}}", `${stack.project}-postgres`];
    return (await docker(...words)).trim() === "unhealthy";
  });
  const expected = {
    evidence: /pg_hba\.conf rejects connection/,
    fix: /bun run logs postgres.*docker restart \S+-postgres/,
  };
  await finds("service-unhealthy", { ...expected, cause: /^The container of postgres/ });
  await asServer(`cat /tmp/rules >"${rules}" && ${reload}`);
  await docker("restart", `${stack.project}-postgres`);
});

test("an init container that has failed is found with its error", async () => {
  const env = { ...stack.env, POSTGRES_USER: "cqrs_app" };
  assert.notEqual((await run("docker", ["compose", "up", "--wait"], { cwd: stack.dir, env })).exitCode, 0);
  const expected = {
    evidence: /exited with 2[\s\S]*POSTGRES_USER must not be a reserved role/,
    fix: /bun run logs init/,
  };
  await finds("service-exited", { ...expected, cause: /^The container of init/ });
});

test("a port of a stopped container is found with the program or the container that uses it", async () => {
  await must("stop");
  const fix = /set POSTGRES_PORT .*in \.env/;
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(stack.port, "127.0.0.1", resolve));
  const program = `Port ${stack.port}, .* is in use by (\\S+ \\(pid ${process.pid}\\)|another program)\\.$`;
  try {
    await finds("port-taken", { evidence: /listens on port/, fix, cause: new RegExp(program) });
  } finally {
    server.close();
  }
  const name = `${stack.project}-other`;
  const publish = ["-p", `127.0.0.1:${stack.vaultPort}:80`];
  const options = ["--detach", "--rm", "--name", name, ...publish, "--entrypoint", "sleep"];
  await docker("run", ...options, `${process.env["POSTGRES_IMAGE"]}`, "60");
  await finds("port-taken", { evidence: new RegExp(`the container ${name} listens on port ${stack.vaultPort}`), fix });
  await docker("rm", "--force", name);
});

test("a data volume that is incomplete is found, and the advice begins with a copy of it", async () => {
  await stack.mustCompose("down", "--timeout", "2");
  const volume = `${stack.project}-postgres-data`;
  const words = ["run", "--rm", "-v", `${volume}:/data`, "--entrypoint", "sh", `${process.env["POSTGRES_IMAGE"]}`];
  await docker(...words, "-c", "rm -rf /data/global /data/pg_xact");
  await stack.compose("up", "--detach", "postgres");
  const isFound = async () => (await report()).findings.some(({ id }) => id === "volume-half-initialised");
  await until("the server has failed", isFound);
  const fix = new RegExp(`-v ${volume}:/from .*backup list.*bun run destroy && bun run bootstrap --mode compose`);
  await finds("volume-half-initialised", { evidence: /could not .*global/, fix });
});

test("only a failure that means missing files is taken for an incomplete volume", () => {
  const fatal = (text: string) => `2026-01-01 10:00:00.000 UTC [1] FATAL:  ${text}`;
  const ready = "2026-01-01 10:00:00.000 UTC [1] LOG:  database system is ready to accept connections";
  for (const line of [
    'but could not open file "/var/lib/postgresql/data/global/pg_control": No such file or directory',
    'initdb: error: directory "/var/lib/postgresql/data" exists but is not empty',
    fatal('could not open directory "pg_xact": No such file or directory'),
    fatal('required WAL directory "pg_wal" does not exist'),
  ])
    assert.equal(findHalfInitialised([ready, line, "initdb: hint: If you want to create a new one"]), line);
  const others: readonly (readonly string[])[] = [
    ['but could not open file "/data/global/pg_control": Permission denied'],
    [fatal('could not read block 3 in file "base/5/1259": Input/output error')],
    [fatal('could not open directory "pg_wal": Too many open files')],
    [fatal("could not locate a valid checkpoint record")],
    ["LOG:  statement: select * from pg_control_system()"],
    [`LOG:  statement: select 'FATAL:  could not open file "base/1": No such file or directory`],
    [fatal('could not open directory "pg_xact": No such file or directory'), ready],
    [fatal('could not open directory "pg_xact": No such file or directory'), fatal("out of memory")],
  ];
  for (const lines of others) assert.equal(findHalfInitialised(lines), undefined, lines.join());
});
