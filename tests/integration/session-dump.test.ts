import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { explainConnectionError } from "../../scripts/lib/postgres/explain.ts";
import { errorCode } from "../../scripts/lib/postgres/failure.ts";
import { splitDump } from "../../scripts/lib/postgres/pg-dump/blocks.ts";
import { runBridge } from "../../scripts/lib/postgres/pg-dump/bridge.ts";
import { type DumpOptions, dumpDatabase } from "../../scripts/lib/postgres/pg-dump/dump.ts";
import { runNative } from "../../scripts/lib/postgres/pg-dump/native.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { message, openFakeServer } from "../support/fake-server.ts";
import { programOf, whyNoNativeDump } from "../support/native-dump.ts";
import { whyUnavailable, withLaterServer } from "../support/server-version.ts";
import { withCluster } from "../support/stack.ts";
import { certificateFile, presentCertificate, requireTls } from "../support/tls-server.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase({ isEmpty: true });
  await database.admin.unsafe("create table public.t (id integer primary key)");
});
after(() => database[Symbol.asyncDispose]());

const { signal } = new AbortController();
const wait = { timeoutMs: 30_000, intervalMs: 20, signal };

function dump(target: ConnectionTarget, options: Partial<DumpOptions> = {}): Promise<string> {
  return dumpDatabase(target, { server: 160_000, args: ["--schema-only"], signal, ...options });
}

/** Locks the table, so that pg_dump waits for it, while the work runs. */
async function whileLocked(work: (ended: (dump: Promise<string>) => Promise<void>) => Promise<void>): Promise<void> {
  await inTransaction(database.admin, async (tx) => {
    await tx.unsafe("lock table public.t in access exclusive mode");
    await work(async (running) => {
      running.catch(() => {});
      assert.ok(await pollUntil(async () => (await readDumpSession())?.["isWaiting"] || undefined, wait));
    });
  });
}

async function readDumpSession() {
  const [row] = await database.admin`
    select pid, wait_event_type = 'Lock' as "isWaiting" from pg_stat_activity
    where application_name = 'cqrs-postgres pg_dump' and datname = ${database.name}`;
  return row;
}

test("a line that looks like psql's \\restrict, or like a header, stays in a function and splits nothing", async () => {
  const body =
    "\n\\restrict cqrspostgres\n\\unrestrict x\n--\n-- Name: t; Type: TABLE; Schema: public; Owner: o\n--\n\n";
  await database.admin.unsafe(`create function public.f() returns text language sql as $f$select '${body}'$f$`);
  const text = await dump(database.administrator);
  assert.ok(text.includes(body));
  assert.doesNotMatch(text.replace(body, ""), /^\\(un)?restrict/m);
  const blocks = splitDump(text);
  assert.equal(blocks.map(({ sql }) => sql).join(""), text);
  const functions = blocks.filter(({ type }) => type === "FUNCTION");
  assert.deepEqual(
    functions.map(({ name }) => name),
    ["f()"],
  );
  assert.ok(functions[0]?.sql.includes(body));
});

test("a dump of a snapshot lacks what was created later, and a wrong snapshot is an error in the server's words", async () => {
  await inTransaction(
    database.admin,
    async (tx) => {
      const [row] = await tx<{ snapshot: string }[]>`select pg_export_snapshot() as snapshot`;
      await database.admin.unsafe("create table public.later (n integer)");
      const text = await dump(database.administrator, { snapshot: row?.snapshot ?? "" });
      assert.match(text, /CREATE TABLE public\.t /);
      assert.doesNotMatch(text, /later/);
    },
    "isolation level repeatable read read only",
  );
  await assert.rejects(dump(database.administrator, { snapshot: "0000-1" }), (error: ScriptError) => {
    assert.deepEqual([error.code, error.exitCode], ["DUMP_FAILED", 9]);
    assert.match(error.why ?? "", /^error: query failed: ERROR: {2}invalid snapshot identifier: "0000-1"$/m);
    return true;
  });
});

test("a comment of 1 MB and a name with quotes pass through unchanged", async () => {
  const comment = `${"Größe ".repeat(200_000)}'"\\`;
  await database.admin.unsafe(`create table public."Größe ""x""" (n integer)`);
  await database.admin.unsafe(`comment on table public."Größe ""x""" is ${`'${comment.replaceAll("'", "''")}'`}`);
  const text = await dump(database.administrator);
  assert.ok(text.includes(comment.replaceAll("'", "''")));
  assert.ok(text.includes('CREATE TABLE public."Größe ""x"""'));
});

test("a wrong password, a missing database and a closed port are explained as for any other connection", async () => {
  const target = database.administrator;
  const explained = async (wrong: Partial<ConnectionTarget>) => {
    const failure = await dump({ ...target, ...wrong }).then(
      () => assert.fail("nothing failed"),
      (error: unknown) => explainConnectionError(error, target),
    );
    assert.ok(failure instanceof ScriptError, String(failure));
    return [failure.code, failure.exitCode];
  };
  assert.deepEqual(await explained({ password: "wrong" }), ["AUTHENTICATION", 6]);
  assert.deepEqual(await explained({ database: "no_such_database" }), ["NO_DATABASE", 3]);
  assert.deepEqual(await explained({ port: 1 }), ["NOT_READY", 3]);
});

test("a server that asks for the password in clear text does not get it", async () => {
  await using server = await openFakeServer((socket) => socket.write(message("R", Buffer.from([0, 0, 0, 3]))));
  const target = { ...database.administrator, port: server.port, password: "open sesame" };
  await assert.rejects(dump(target), (error) => errorCode(error) === "INSECURE_AUTHENTICATION");
  assert.ok(!server.received().includes("sesame"));
});

test("a table that another session changes is named, and nothing waits for it without end", async () => {
  await whileLocked(async () => {
    await assert.rejects(dump(database.administrator, { lockTimeoutMs: 100 }), (error: ScriptError) => {
      assert.deepEqual([error.code, error.exitCode], ["LOCKED", 5]);
      assert.match(error.why ?? "", /public\.t\b/);
      return true;
    });
  });
});

test("an abort ends a dump that waits for a lock", async () => {
  const controller = new AbortController();
  await whileLocked(async (waits) => {
    const running = dump(database.administrator, { signal: controller.signal, lockTimeoutMs: 60_000 });
    await waits(running);
    controller.abort(new Error("enough"));
    await assert.rejects(running, /^Error: enough$/);
  });
  assert.ok(await pollUntil(async () => ((await readDumpSession()) === undefined ? true : undefined), wait));
});

test("a session that is terminated ends the dump with the server's reason", async () => {
  await whileLocked(async (waits) => {
    const running = dump(database.administrator, { lockTimeoutMs: 60_000 });
    await waits(running);
    const session = await readDumpSession();
    await database.admin`select pg_terminate_backend(${session?.["pid"]})`;
    await assert.rejects(running, (error) => errorCode(error) === "57P01");
  });
});

test("over TLS a dump is the same as without", async () => {
  await using cluster = await withCluster();
  const plain = { ...(await cluster.administrator()), tls: "disable" as const };
  const expected = await dump(plain);
  await presentCertificate(cluster, "good");
  await requireTls(cluster);
  const authority = certificateFile("authority");
  assert.equal(await dump({ ...plain, tls: "verify-ca", tlsRootCert: authority }), expected);
  await assert.rejects(dump({ ...plain, tls: "verify-full", tlsRootCert: certificateFile("self-signed") }), (error) => {
    return errorCode(error) === "TLS_CERTIFICATE";
  });
});

for (const major of [17, 18]) {
  const reason = whyUnavailable(major);
  test(`the schema of a server ${major} is dumped, by an administrator without superuser, too`, {
    skip: reason ?? false,
  }, async () => {
    await using server = await withLaterServer(major);
    const { administrator } = server;
    await using connection = openConnection(administrator);
    const text = await dump(administrator, { server: major * 10_000 });
    assert.match(text, /CREATE FUNCTION event_store\.safe_position\(/);
    await connection.sql.unsafe("create role deputy login password 'deputy' in role cqrs_owner");
    const deputy = { ...administrator, user: "deputy", password: "deputy" };
    assert.equal(await dump(deputy, { server: major * 10_000, role: "cqrs_owner" }), text);
  });
}

test("a server that is newer than the bundled pg_dump needs one on the PATH", async () => {
  await assert.rejects(dump(database.administrator, { server: 990_000 }), (error: ScriptError) => {
    assert.deepEqual([error.code, error.exitCode], ["NO_PG_DUMP", 9]);
    assert.match(error.message, /PostgreSQL 99 needs a pg_dump of its own version/);
    return true;
  });
});

test("a native pg_dump prints the same as the bundled one", { skip: whyNoNativeDump() ?? false }, async () => {
  const args = ["--schema-only", "--restrict-key=x"];
  const run = { args, applicationName: "cqrs-postgres pg_dump", signal };
  const native = await runNative(database.administrator, run, 16, programOf(18));
  assert.deepEqual([native.exitCode, native.stderr], [0, ""]);
  const bundled = await runBridge(database.administrator, run);
  const withoutVersion = (text: string) => text.replace(/^-- Dumped by .*$/m, "");
  assert.equal(withoutVersion(native.dump), withoutVersion(bundled.dump));
});

test("a native pg_dump that fails reports why", { skip: whyNoNativeDump() ?? false }, async () => {
  const run = { args: ["--snapshot=0000-1"], applicationName: "cqrs-postgres pg_dump", signal };
  const { exitCode, stderr } = await runNative(database.administrator, run, 16, programOf(18));
  assert.equal(exitCode, 1);
  assert.match(stderr, /invalid snapshot identifier: "0000-1"/);
});

test("the bundled files are those that vendor/README.md lists", async () => {
  const folder = join(assetsDir, "scripts/lib/postgres/pg-dump/vendor");
  const readme = await readFile(join(folder, "README.md"), "utf8");
  const listed = [...readme.matchAll(/^([0-9a-f]{64}) {2}([\w.]+)$/gm)];
  assert.deepEqual(
    listed.map(([, , name]) => name),
    ["pg_dump.js", "pg_dump.wasm", "LICENSE"],
  );
  for (const [, sha256, name] of listed) {
    const content = await readFile(join(folder, name as string));
    assert.equal(createHash("sha256").update(content).digest("hex"), sha256 as string);
  }
});
