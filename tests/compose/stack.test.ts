import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { append } from "../support/append.ts";
import { type ComposeStack, health, mustRun, run, startComposeStack, until } from "../support/compose.ts";
import { testRounds } from "../support/runtime.ts";

let stack: ComposeStack;

before(async () => {
  stack = await startComposeStack();
});
after(async () => {
  await stack?.[Symbol.asyncDispose]();
});

async function countEvents(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::int from event_store.domain_event`;
  return row?.count ?? 0;
}

async function isUsable(): Promise<boolean> {
  return await stack
    .withSession((sql) => sql`select 1`)
    .then(
      () => true,
      () => false,
    );
}

test("up --wait returns once the schema is applied and the credentials in Vault work", async () => {
  const [inside, outside] = [await stack.secret("database"), await stack.secret("database-local")];
  assert.equal(inside["url"], "jdbc:postgresql://postgres:5432/cqrs_db");
  assert.equal(outside["url"], `jdbc:postgresql://127.0.0.1:${stack.port}/cqrs_db`);
  assert.equal(inside["password"], outside["password"]);
  await stack.withSession((sql) => append(sql, {}));
  const pending = await stack.compose("run", "--rm", "-T", "init", "schema", "status", "--exit-code");
  assert.equal(pending.exitCode, 0, pending.stderr);
});

test("the logs show no text of our own files, and advise nothing that Docker users do not have", async () => {
  const server = await stack.mustCompose("logs", "--no-log-prefix", "postgres");
  assert.match(server, /database system is ready to accept connections/);
  assert.doesNotMatch(server, /create (table|or replace function) event_store/i);
  const init = await stack.mustCompose("logs", "--no-log-prefix", "init");
  assert.match(init, /docker compose run .* secrets show --reveal {2}shows it with the password, for the host$/m);
  assert.doesNotMatch(init, /bun/);
  const failed = await stack.compose("run", "--rm", "-T", "init", "restore", "nowhere", "--yes");
  assert.match(failed.stderr, /docker compose run --rm -T init backup list/);
});

test("a second up changes nothing", async () => {
  const secret = await stack.secret("database");
  await stack.mustCompose("up", "--wait");
  assert.match(await stack.mustCompose("logs", "--no-log-prefix", "init"), /ready \(nothing to change\)/);
  assert.deepEqual(await stack.secret("database"), secret);
});

test("data and secrets survive a restart of either server, and down and up", async () => {
  const secret = await stack.secret("database");
  const count = await stack.withSession(countEvents);
  assert.ok(count > 0);
  for (const words of [["restart", "vault"], ["restart", "postgres"], ["down"]]) {
    await stack.mustCompose(...words);
    if (words[0] === "down") await stack.mustCompose("up", "--wait");
    await until("both are healthy", async () =>
      (await Promise.all(["vault", "postgres"].map((name) => health(stack, name)))).every((one) => one === "healthy"),
    );
    assert.deepEqual(await stack.secret("database"), secret, words.join(" "));
    assert.equal(await stack.withSession(countEvents), count, words.join(" "));
  }
});

test("no inspectable output contains a secret", async () => {
  const application = (await stack.secret("database"))["password"] as string;
  const read = (service: string, file: string) => stack.mustCompose("exec", "-T", service, "cat", file);
  const secrets = [
    application,
    await read("postgres", "/keys/postgres/password"),
    await read("vault", "/keys/vault/unseal-key"),
    await read("vault", "/keys/init/cqrs-init.secret-id"),
  ];
  const ids = (await stack.mustCompose("ps", "--all", "--quiet")).trim().split("\n");
  const docker = async (...words: string[]) => mustRun(words.join(" "), await run("docker", words, { env: stack.env }));
  const seen = {
    inspect: await docker("inspect", ...ids, `${stack.project}-init`),
    config: await stack.mustCompose("config"),
    logs: await stack.mustCompose("logs"),
    history: await docker("history", "--no-trunc", `${stack.project}-init`),
  };
  for (const [where, text] of Object.entries(seen)) {
    assert.ok(text.length > 100, where);
    for (const [index, secret] of secrets.entries()) {
      assert.ok(secret.length > 20 && !text.includes(secret), `${where} contains secret ${index}`);
    }
  }
  const counted = await countInLayers(`${stack.project}-init`, [...secrets, '"name": "cqrs-postgres"']);
  assert.deepEqual(counted.slice(0, -1), [0, 0, 0, 0], "the layers contain a secret");
  assert.ok((counted.at(-1) ?? 0) > 0, "the search would find one");
});

/** @returns in how many lines of an image's layers, which are tar files, each text occurs */
async function countInLayers(image: string, texts: readonly string[]): Promise<number[]> {
  const file = `${stack.dir}/image.tar`;
  mustRun("save", await run("docker", ["save", "--output", file, image], { env: stack.env }));
  const counts = texts.map((text) => run("grep", ["--count", "--text", "--fixed-strings", "--", text, file]));
  return (await Promise.all(counts)).map(({ stdout }) => Number(stdout));
}

test("secrets show and status --env print the secret that CQRS_SECRET selects, host and port of one address", async () => {
  const print = async (secret: string, ...words: string[]) =>
    stack.mustCompose("run", "--rm", "-T", "-e", `CQRS_SECRET=${secret}`, "init", ...words);
  for (const [secret, host, port] of [
    ["database", "postgres", 5432],
    ["database-local", "127.0.0.1", stack.port],
  ] as const) {
    const shown = await print(secret, "secrets", "show", "--env", "--reveal");
    const env = await print(secret, "status", "--env");
    for (const text of [shown, env]) assert.match(text, new RegExp(`@${host}:${port}/cqrs_db'`), secret);
    assert.match(env, new RegExp(`^export PGHOST='${host}'\nexport PGPORT='${port}'$`, "m"));
  }
});

test("the image says what it is, and files of the host get the label that SELinux wants", async () => {
  const inspect = async (format: string, name: string) =>
    JSON.parse(mustRun("inspect", await run("docker", ["inspect", "--format", format, name], { env: stack.env })));
  const labels = await inspect("{{json .Config.Labels}}", `${stack.project}-init`);
  assert.equal(labels["org.opencontainers.image.title"], "cqrs-postgres");
  assert.equal(labels["org.opencontainers.image.base.name"], process.env["BUN_IMAGE"]);
  for (const service of ["keys", "vault", "postgres"]) {
    const { Binds, Memory, MemorySwap } = await inspect("{{json .HostConfig}}", `${stack.project}-${service}`);
    const files = (Binds as string[]).filter((bind) => bind.startsWith("/"));
    assert.ok(files.length > 0 && files.every((bind) => /:(ro|rw),z$/.test(bind)), files.join());
    if (service === "vault") assert.equal(MemorySwap, Memory, "secrets are not swapped out");
  }
});

/** A health check that has run. */
interface Looked {
  readonly Start: string;
  readonly End: string;
}

test("a container is healthy soon after it starts; after that, a health check runs every 30 seconds", async () => {
  const read = async () => {
    const words = ["inspect", "--format", "{{json .State}}", `${stack.project}-vault`, `${stack.project}-postgres`];
    const { stdout } = await run("docker", words, { env: stack.env });
    return stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  await stack.mustCompose("restart");
  await until("both are healthy", async () => (await read()).every(({ Health }) => Health.Status === "healthy"));
  for (const { Health, StartedAt } of await read()) {
    // Docker keeps the log of the checks before the restart.
    const looked = Health.Log.filter(({ Start }: Looked) => Date.parse(Start) >= Date.parse(StartedAt));
    const slept = looked.filter(({ Start, End }: Looked) => Date.parse(End) - Date.parse(Start) >= 28_000);
    assert.deepEqual(slept, [], "no check before that has slept");
  }
  for (const service of ["vault", "postgres"]) {
    const isSleeping = async () => /sleep 28/.test((await stack.compose("exec", "-T", service, "ps")).stdout);
    await until(`the check of ${service} sleeps`, isSleeping);
  }
});

test("a token that was issued before Vault restarted is revoked, in case it was stolen", async () => {
  const script = `cd /keys/init && vault=$(command -v vault || command -v bao) && export VAULT_ADDR=http://127.0.0.1:8200
    $vault write -field=token auth/approle/login role_id=@cqrs-init.role-id secret_id=@cqrs-init.secret-id`;
  const token = (await stack.mustCompose("exec", "-T", "vault", "sh", "-c", script)).trim();
  const read = async () => {
    const url = `http://127.0.0.1:${stack.vaultPort}/v1/secret/data/cqrs-spike/database`;
    return (await fetch(url, { headers: { "X-Vault-Token": token } })).status;
  };
  assert.equal(await read(), 200);
  await stack.mustCompose("restart", "vault");
  await until("Vault is usable again", async () => (await health(stack, "vault")) === "healthy");
  assert.equal(await read(), 403);
});

test("containers have minimal privileges and resources", async () => {
  const ids = (await stack.mustCompose("ps", "--all", "--quiet")).trim().split("\n");
  const { stdout } = await run("docker", ["inspect", ...ids], { env: stack.env });
  for (const { Name, HostConfig } of JSON.parse(stdout)) {
    assert.equal(HostConfig.ReadonlyRootfs, true, Name);
    assert.deepEqual(HostConfig.CapDrop, ["ALL"], Name);
    assert.deepEqual(HostConfig.SecurityOpt, ["no-new-privileges:true"], Name);
    assert.ok(HostConfig.Memory > 0 && HostConfig.PidsLimit > 0, Name);
    const bindings = Object.values(HostConfig.PortBindings ?? {}).flat() as { HostIp: string }[];
    assert.ok(
      bindings.every(({ HostIp }) => HostIp === "127.0.0.1"),
      Name,
    );
  }
  const read = (service: string, file: string) =>
    stack.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", service, file);
  assert.notEqual((await read("init", "/keys/vault/unseal-key")).exitCode, 0, "init cannot unseal Vault");
  assert.notEqual((await stack.compose("exec", "-T", "vault", "cat", "/keys/postgres/password")).exitCode, 0);
});

test("docker compose logs shows the log of PostgreSQL", async () => {
  assert.match(await stack.mustCompose("logs", "postgres"), /database system is ready to accept connections/);
});

/** Longer than a statement takes, so that the disturbance affects statements in flight. */
const lastingMs = 1500;

const disturbances: Readonly<Record<string, () => Promise<void>>> = {
  "docker kill of PostgreSQL": async () => {
    await stack.mustCompose("kill", "--signal", "KILL", "postgres");
    await stack.mustCompose("start", "postgres");
  },
  "crash of PostgreSQL, which restarts by itself": () => crash("postgres"),
  "pause and unpause": async () => {
    await stack.mustCompose("pause", "postgres");
    await sleep(lastingMs);
    await stack.mustCompose("unpause", "postgres");
  },
  "loss of the network": async () => {
    const words = [`${stack.project}-network`, `${stack.project}-postgres`];
    mustRun("disconnect", await run("docker", ["network", "disconnect", ...words], { env: stack.env }));
    await sleep(lastingMs);
    const connecting = ["network", "connect", "--alias", "postgres", ...words];
    mustRun("connect", await run("docker", connecting, { env: stack.env }));
  },
  "kill -9 of a backend": async () => {
    const kill =
      "kill -9 $(psql -h 127.0.0.1 -U postgres -d cqrs_db -XAtqc \"select pid from pg_stat_activity where usename = 'cqrs_user' limit 1\")";
    await stack.mustCompose("exec", "-T", "-u", "postgres", "postgres", "sh", "-c", kill);
  },
  "kill of Vault": async () => {
    await stack.mustCompose("kill", "--signal", "KILL", "vault");
    await stack.mustCompose("start", "vault");
  },
  "crash of Vault, which restarts by itself": () => crash("vault"),
};

/** Docker doubles its delay before each restart of a container that ran for less than ten seconds. */
const restartResetMs = 11_000;

/** Kills a container's main process from outside: after `docker kill`, Docker would not restart the container. */
async function crash(service: string): Promise<void> {
  const inspect = async (what: string) => {
    const words = ["inspect", "--format", `{{.State.${what}}}`, `${stack.project}-${service}`];
    return mustRun("inspect", await run("docker", words, { env: stack.env })).trim();
  };
  await sleep(Math.max(0, Date.parse(await inspect("StartedAt")) + restartResetMs - Date.now()));
  const pid = Number(await inspect("Pid"));
  process.kill(pid, "SIGKILL");
  await until(`${service} has started again`, async () => {
    const now = Number(await inspect("Pid"));
    return now > 0 && now !== pid;
  });
}

for (const [name, disturb] of Object.entries(disturbances)) {
  test(`after a ${name} under load, every acknowledged event is stored once and the credentials work`, async () => {
    for (let round = 0; round < testRounds(1); round++) {
      const load = startLoad();
      await until("something is acknowledged", async () => load.acknowledged.length >= 20);
      await disturb();
      await until("the database is usable again", isUsable);
      await until("Vault is usable again", async () => (await health(stack, "vault")) === "healthy");
      const before = load.acknowledged.length;
      await until("appends resume", async () => load.acknowledged.length >= before + 20);
      const acknowledged = await load.stop();
      const rows = await stack.withSession(
        (sql) => sql<{ id: string; count: number }[]>`
          select event_id as id, count(*)::int from event_store.domain_event
          where event_id in (select value::uuid from jsonb_array_elements_text(${JSON.stringify(acknowledged)}::text::jsonb))
          group by 1`,
      );
      assert.equal(rows.length, acknowledged.length, "no acknowledged event is lost");
      assert.ok(rows.every(({ count }) => count === 1));
    }
  });
}

/** Appends from two sessions, each event with its own id. */
function startLoad(): { readonly acknowledged: string[]; stop(): Promise<string[]> } {
  const acknowledged: string[] = [];
  let isOver = false;
  const work = async () => {
    while (!isOver) {
      await stack
        .withSession(async (sql) => {
          while (!isOver) {
            const event = { event_id: randomUUID(), event_type: "Counted", event_data: {} };
            await append(sql, { events: [event] });
            acknowledged.push(event.event_id);
          }
        })
        .catch(() => undefined);
    }
  };
  const workers = [work(), work()];
  return {
    acknowledged,
    async stop() {
      isOver = true;
      await Promise.all(workers);
      return acknowledged;
    },
  };
}
