import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import type { DoctorReport, FoundCause } from "../../scripts/lib/doctor/report.ts";
import { type ComposeStack, makeComposeStack, mustRun, run, until } from "../support/compose.ts";
import { copyProject } from "../support/project-copy.ts";
import { startProgram } from "../support/run-script.ts";

type Environment = Readonly<Record<string, string>>;

let stack: ComposeStack;

before(async () => {
  stack = await makeComposeStack();
  await must("bootstrap");
});
after(() => stack?.[Symbol.asyncDispose]());

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
  assert.match(await must("logs", "init", "--lines", "3"), /^[^|]*ready[^|]*\n$/);
  assert.match(await must("logs", "keys"), /created the superuser's password\n/);
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
  await isHealthy();
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
  assert.equal((await report()).findings.length, 1, "no other area reports it");
  await must("doctor", "--fix", "--yes");
  await isHealthy();
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
  await until("the server is healthy", async () => (await report()).findings.length === 0);
});

test("an init container that has failed is found with its error", async () => {
  const env = { ...stack.env, POSTGRES_USER: "cqrs_app" };
  assert.notEqual((await run("docker", ["compose", "up", "--wait"], { cwd: stack.dir, env })).exitCode, 0);
  const expected = {
    evidence: /exited with 2[\s\S]*POSTGRES_USER must not be a reserved role/,
    fix: /bun run logs init/,
  };
  await finds("service-exited", { ...expected, cause: /^The container of init/ });
  await must("bootstrap");
  await isHealthy();
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
  const options = [
    "--detach",
    "--rm",
    "--name",
    name,
    "-p",
    `127.0.0.1:${stack.vaultPort}:80`,
    "--entrypoint",
    "sleep",
  ];
  await docker("run", ...options, `${process.env["POSTGRES_IMAGE"]}`, "60");
  await finds("port-taken", { evidence: new RegExp(`the container ${name} listens on port ${stack.vaultPort}`), fix });
  await docker("rm", "--force", name);
  await must("bootstrap");
  await isHealthy();
});

test("a data volume that is only half initialised is found, and the advised commands create a new one", async () => {
  const image = `${process.env["POSTGRES_IMAGE"]}`;
  const fix = /bun run destroy --yes && bun run bootstrap/;
  for (const [damage, evidence] of [
    ["rm -rf global pg_xact", /could not .*global/],
    ["rm PG_VERSION", /exists but is not empty/],
  ] as const) {
    await stack.mustCompose("down", "--timeout", "2");
    const volume = `${stack.project}-postgres-data:/data`;
    await docker("run", "--rm", "-v", volume, "--entrypoint", "sh", image, "-c", `cd /data && ${damage}`);
    await stack.compose("up", "--detach", "postgres");
    await until("the server has failed", async () => (await report()).findings.length > 1);
    await finds("volume-half-initialised", { evidence, fix });
  }
  await must("destroy", "--yes");
  await must("bootstrap");
  await isHealthy();
});
