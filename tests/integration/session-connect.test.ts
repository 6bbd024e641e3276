import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectionOptions, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { clearTextRequest, fatal, loginAccepted, md5Request, message, openFakeServer } from "../support/fake-server.ts";
import { unusedPort } from "../support/port.ts";
import {
  assertCode,
  codeOf,
  cutCodes,
  failureOf,
  inTime,
  longConnectSeconds,
  running,
  settle,
  terminate,
  until,
  useGround,
} from "../support/session.ts";
import { openServer } from "../support/wait-server.ts";

const ground = useGround();

const password = "Secret-of-this-test";

function targetOf({ port }: { readonly port: number }): ConnectionTarget {
  return { host: "127.0.0.1", port, database: "app", user: "app", password };
}

function open(server: { readonly port: number }, options: ConnectionOptions = {}) {
  return openConnection(targetOf(server), { connectTimeoutSeconds: longConnectSeconds, ...options });
}

/** Only for peers that never answer: a process that is suspended for longer would miss an answer. */
const connectTimeoutSeconds = 0.15;
/** Less than the default of the connect timeout. */
const beforeDefaultMs = 9_000;

test("a peer that hangs up costs at most one connection per statement, and each statement rejects", async () => {
  const answers = [undefined, (socket: { destroy(): void }) => socket.destroy()];
  for (const answer of answers) {
    // Before or after the start-up message.
    await using server =
      answer === undefined ? await openServer((socket) => socket.destroy()) : await openFakeServer(answer);
    await using pool = open(server);
    assertCode(await codeOf(pool.sql`select 1`), cutCodes);
    assert.equal(server.connections, 1);
    assertCode(await codeOf(inTransaction(pool.sql, async () => undefined)), cutCodes);
    assert.equal(server.connections, 2);
    const together = [1, 2, 3].map(() => codeOf(pool.sql`select 1`));
    for (const code of await Promise.all(together)) assertCode(code, cutCodes);
    assert.ok(server.connections <= 5, `${server.connections} connections`);
  }
});

/** Peers that accept a connection, and the point at which they stop answering. */
const mute: Record<string, () => Promise<AsyncDisposable & { readonly port: number; readonly connections: number }>> = {
  "never answers": () => openServer(() => {}),
  "does not answer the login": () => openFakeServer(() => {}),
  "accepts the login, but is never ready": () =>
    openFakeServer((socket) => socket.write(message("R", Buffer.from([0, 0, 0, 0])))),
  "sends half a message": () => openFakeServer((socket) => socket.write(message("R", "many bytes").subarray(0, 7))),
  "speaks HTTP": () => openFakeServer((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n")),
};
for (const [name, listen] of Object.entries(mute)) {
  test(`a peer that ${name} fails each statement after the connect timeout`, async () => {
    await using server = await listen();
    for (const max of [1, 3]) {
      await using pool = open(server, { max, connectTimeoutSeconds });
      const before = server.connections;
      const codes = await Promise.all([1, 2].map(() => codeOf(pool.sql`select 1`, beforeDefaultMs)));
      assert.ok(codes.every((code) => code !== undefined));
      assert.ok(server.connections - before <= 2, `${server.connections - before} connections`);
    }
  });
}

test("a peer that sends nonsense and hangs up fails the statement", async () => {
  const nonsense = [Buffer.alloc(100, 0xff), Buffer.alloc(3), Buffer.from("SSH-2.0-OpenSSH_9.2\r\n"), Buffer.alloc(9)];
  for (const bytes of nonsense) {
    await using server = await openFakeServer((socket) => socket.end(bytes));
    await using pool = open(server);
    await failureOf(pool.sql`select 1`);
    assert.equal(server.connections, 1);
  }
});

/** A request for authentication. */
function request(kind: number, text = ""): Buffer {
  return message("R", Buffer.from([0, 0, 0, kind, ...Buffer.from(text)]));
}

/** Messages during a login that no server sends, and the code of the error. */
const malformed: Record<string, { readonly code: string; readonly bytes: Buffer }> = {
  "an empty request for authentication": { code: "PROTOCOL_VIOLATION", bytes: message("R") },
  "half a request for authentication": { code: "PROTOCOL_VIOLATION", bytes: message("R", "ab") },
  "a challenge that is not one": { code: "PROTOCOL_VIOLATION", bytes: request(11, "nonsense") },
  "a challenge without iterations": { code: "PROTOCOL_VIOLATION", bytes: request(11, "r=abc,s=YWJj,i=x") },
  "a challenge of -5 iterations": { code: "PROTOCOL_VIOLATION", bytes: request(11, "r=abc,s=YWJj,i=-5") },
  "a challenge that takes minutes": { code: "PROTOCOL_VIOLATION", bytes: request(11, "r=abc,s=YWJj,i=2147483647") },
  "a proof that is wrong": { code: "SASL_SIGNATURE_MISMATCH", bytes: request(12, "v=YWJj") },
  "a request for Kerberos": { code: "UNSUPPORTED_AUTHENTICATION", bytes: request(7) },
  "half a cancel key": {
    code: "PROTOCOL_VIOLATION",
    bytes: Buffer.concat([request(0), message("K", "ab"), message("Z", "I")]),
  },
  "an empty status": { code: "PROTOCOL_VIOLATION", bytes: Buffer.concat([request(0), message("Z")]) },
};
for (const [name, { code, bytes }] of Object.entries(malformed)) {
  test(`a server that sends ${name} is one error, at once`, async () => {
    await using server = await openFakeServer((socket) => socket.write(bytes));
    await using pool = open(server);
    assert.equal(await codeOf(pool.sql`select 1`), code);
    assert.equal(server.connections, 1);
  });
}

test("a session that answers more than it was asked is not used again", async () => {
  const answer = Buffer.concat([message("C", "SELECT 0\0"), message("Z", "I")]);
  await using server = await openFakeServer((socket, index) =>
    socket.write(index === 0 ? loginAccepted : Buffer.concat([answer, message("Z", "I")])),
  );
  await using pool = open(server);
  await inTime(pool.sql.unsafe("select 1"));
  await inTime(pool.sql.unsafe("select 2"));
  assert.equal(server.connections, 2);
});

test("the reason for which a server refuses a session reaches the caller, after one attempt", async () => {
  const reasons = { "57P03": "the database system is starting up", "53300": "sorry, too many clients already" };
  for (const [code, text] of Object.entries(reasons)) {
    await using server = await openFakeServer((socket) => socket.end(fatal(code, text)));
    await using pool = open(server);
    for (let attempt = 1; attempt <= 3; attempt++) {
      const error = await failureOf(pool.sql`select 1`);
      assert.deepEqual([error.code, error.message, server.connections], [code, text, attempt]);
    }
  }
});

test("a pooler that loses the session behind it says why, and the session counts as lost", async () => {
  const error = message("E", "SFATAL\0C08P01\0Mserver conn crashed?\0\0");
  await using server = await openFakeServer((socket, index) => socket.write(index === 0 ? loginAccepted : error));
  await using pool = open(server);
  const { code, message: text } = await failureOf(pool.sql`select 1`);
  assert.equal(code, "CONNECTION_CLOSED");
  assert.match(text, /: server conn crashed\?$/);
});

test("an error may be as long as the server likes, in however many pieces it arrives", async () => {
  await using pool = ground.open();
  const failing = `do $$ begin raise exception using message = repeat('x', 3000000), errcode = 'P0001'; end $$`;
  const error = await failureOf(pool.sql.unsafe(failing));
  assert.deepEqual([error.code, error.message.length], ["P0001", 3_000_000]);
  assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
});

test("the reason for which a session was lost is not reported for the next one", async () => {
  await using pool = ground.open();
  const lost = codeOf(pool.sql`select pg_sleep(100)`);
  await terminate(ground.admin, await running(ground.admin, "pg_sleep"));
  assert.equal(await lost, "57P01");
  ground.proxy.refuse(true);
  const before = ground.proxy.connections;
  assertCode(await codeOf(pool.sql`select 1`), cutCodes);
  assert.equal(ground.proxy.connections, before + 1);
  ground.proxy.refuse(false);
  assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
});

test("after a cut, a wrong password is one clear error for each statement, until it is right again", async () => {
  const { user, password: right } = ground.database.application;
  let current = right;
  await using pool = openConnection(
    { ...ground.database.application, port: ground.proxy.port },
    { credentials: () => ({ user, password: current }) },
  );
  await pool.sql`select 1`;
  const lost = codeOf(pool.sql`select pg_sleep(100)`);
  const pid = await running(ground.admin, "pg_sleep");
  current = "wrong";
  ground.proxy.cut();
  assertCode(await lost, cutCodes);
  await terminate(ground.admin, pid);
  const before = ground.proxy.connections;
  assert.equal(await codeOf(pool.sql`select 1`), "28P01");
  assert.equal(await codeOf(inTransaction(pool.sql, async () => undefined)), "28P01");
  assert.equal(ground.proxy.connections, before + 2);
  current = right;
  assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
});

test("a port on which nothing listens is one error per statement", async () => {
  await using pool = open({ port: await unusedPort() });
  for (let times = 0; times < 3; times++) assert.equal(await codeOf(pool.sql`select 1`), "ECONNREFUSED");
});

test("credentials that never arrive fail the statement after the connect timeout, and do not keep a pool open", async () => {
  const credentials = () => new Promise<never>(() => {});
  await using pool = openConnection(ground.target, { credentials, connectTimeoutSeconds });
  assert.equal(await codeOf(pool.sql`select 1`, beforeDefaultMs), "CONNECT_TIMEOUT");
  const patient = openConnection(ground.target, { credentials, connectTimeoutSeconds: longConnectSeconds });
  const waiting = codeOf(pool.sql`select 1`);
  await inTime(patient.sql.end({ timeout: 0.1 }));
  await waiting;
});

test("credentials that cannot be read fail the statement with their own error", async () => {
  const own = new Error("the secret store is sealed");
  let isBroken = true;
  const credentials = () => {
    if (isBroken) throw own;
    return { user: ground.database.application.user, password: ground.database.application.password };
  };
  await using pool = openConnection(ground.database.application, { credentials });
  assert.equal(await failureOf(pool.sql`select 1`), own);
  isBroken = false;
  assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
});

const insecure: Record<string, Buffer> = { "in clear text": clearTextRequest, "as MD5": md5Request };
for (const [how, request] of Object.entries(insecure)) {
  test(`a server without TLS that asks for the password ${how} does not get it`, async () => {
    await using server = await openFakeServer((socket, index) => socket.write(index === 0 ? request : loginAccepted));
    await using pool = open(server);
    const uses = [
      () => pool.sql`select 1`,
      () => inTransaction(pool.sql, async (tx) => tx`select 1`),
      () => pool.sql.reserve(),
    ];
    for (const use of uses) assert.equal(await codeOf(use()), "INSECURE_AUTHENTICATION");
    assert.equal(server.connections, uses.length);
    await settle();
    assert.equal(server.answers().includes("p"), false, server.answers().toString("latin1"));
    assertSecret(server.received());
  });

  test(`a server that declines TLS and asks for the password ${how} does not get it`, async () => {
    await using server = await openFakeServer((socket, index) => socket.write(index === 0 ? request : loginAccepted));
    await using pool = openConnection(
      { ...targetOf(server), tls: "prefer" },
      { connectTimeoutSeconds: longConnectSeconds },
    );
    assert.equal(await codeOf(pool.sql`select 1`), "INSECURE_AUTHENTICATION");
    await settle();
    assertSecret(server.received());
  });

  test(`a request for the password ${how} together with other messages is refused, too`, async () => {
    const whole = Buffer.concat([request, loginAccepted]);
    await using server = await openFakeServer((socket) => {
      for (const byte of whole) socket.write(Buffer.from([byte]));
    });
    await using pool = open(server);
    assert.equal(await codeOf(pool.sql`select 1`), "INSECURE_AUTHENTICATION");
    await settle();
    assertSecret(server.received());
  });
}

function md5(text: string | Buffer): string {
  return createHash("md5").update(text).digest("hex");
}

/** Neither the password nor its hash is among the bytes. */
function assertSecret(bytes: Buffer): void {
  const inner = md5(`${password}app`);
  const answers = [password, inner, md5(Buffer.concat([Buffer.from(inner), Buffer.from([1, 2, 3, 4])]))];
  for (const secret of answers) assert.equal(bytes.includes(secret), false);
}

test("a password is used for SCRAM only, and never sent itself", async () => {
  const sasl = message("R", Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.from("SCRAM-SHA-256\0\0")]));
  await using server = await openFakeServer((socket, index) => {
    if (index === 0) socket.write(sasl);
    else socket.end(fatal("28P01", "no"));
  });
  await using pool = open(server);
  assert.equal(await codeOf(pool.sql`select 1`), "28P01");
  assert.equal(server.received().includes("SCRAM-SHA-256"), true);
  assertSecret(server.received());
});

test("a request to cancel that overtakes its statement is repeated", async () => {
  await using pool = ground.open({ max: 1 });
  await pool.sql`select 1`;
  const { connections } = ground.proxy;
  const kept = ground.proxy.hold();
  const statement = pool.sql`select pg_sleep(100)`.execute();
  const code = codeOf(statement);
  await settle();
  statement.cancel();
  await until(() => ground.proxy.connections > connections + 1);
  kept.release();
  assert.equal(await code, "57014");
  assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
});

test("a statement can be cancelled at any moment of the login", async () => {
  for (let pause = 0; pause < 16; pause += 2) {
    await using pool = ground.open();
    const statement = pool.sql`select pg_sleep(100)`.execute();
    const code = codeOf(statement);
    await sleep(pause);
    statement.cancel();
    assert.equal(await code, "57014");
    assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
  }
});
