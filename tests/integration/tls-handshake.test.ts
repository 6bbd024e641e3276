import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { TLSSocket } from "node:tls";
import { encrypt, sslRequest } from "../../scripts/lib/postgres/tls.ts";
import type { TlsMode } from "../../scripts/lib/tls-mode.ts";
import { certificateFile } from "../support/tls-server.ts";

const pem = readFileSync(certificateFile("good"));
const closed = /^(CONNECTION_CLOSED|ECONNRESET)$/;

/** What a server does with the request for TLS, and the code of the error. */
const faults: Record<string, readonly [(socket: Socket) => void, RegExp]> = {
  "closes the connection": [(socket) => socket.end(), closed],
  "resets the connection": [(socket) => socket.resetAndDestroy(), closed],
  "closes the connection after its answer": [(socket) => socket.end("S"), closed],
  "closes the connection during the handshake": [answerThen((socket) => socket.end()), closed],
  "resets the connection during the handshake": [answerThen((socket) => socket.resetAndDestroy()), closed],
  "sends data with its answer": [(socket) => socket.write("SR\0\0\0\b\0\0\0\0"), /^TLS_UNEXPECTED_DATA$/],
  "sends data with its refusal": [(socket) => socket.write("NR\0\0\0\b\0\0\0\0"), /^TLS_UNEXPECTED_DATA$/],
  "sends data in place of a handshake": [answerThen((socket) => socket.write("R".repeat(100))), /^TLS_FAILED$/],
  "cannot start a session": [(socket) => socket.end("Esorry, too many clients already\n"), closed],
  "is not PostgreSQL": [(socket) => socket.end("HTTP/1.1 400 Bad Request\r\n"), /^PROTOCOL_VIOLATION$/],
};

function answerThen(next: (socket: Socket) => void): (socket: Socket) => void {
  return (socket) => {
    socket.write("S");
    socket.once("data", () => next(socket));
  };
}

for (const [name, [respond, code]] of Object.entries(faults)) {
  for (const mode of ["prefer", "verify-full"] as const) {
    test(`a server that ${name} is one error, and the socket is destroyed: ${mode}`, async () => {
      await using server = await withServer(respond);
      const socket = await server.open();
      await assert.rejects(encrypt(socket, { host: "127.0.0.1", port: server.port, tls: mode }), (error: Error) => {
        assert.match((error as NodeJS.ErrnoException).code ?? "", code);
        assert.ok(error.message.length > 10 && !error.message.includes("undefined"), error.message);
        return true;
      });
      assert.equal(socket.destroyed, true);
    });
  }
}

for (const [name, respond] of [
  ["answering", () => {}],
  ["a handshake", (socket: Socket) => socket.write("S")],
] as const) {
  test(`destroying the socket ends the wait for a server that hangs instead of ${name}`, async () => {
    await using server = await withServer(respond);
    for (const reason of [undefined, new Error("it took too long")]) {
      const socket = await server.open();
      const encrypted = encrypt(socket, { host: "127.0.0.1", port: server.port, tls: "prefer" });
      await server.requested();
      socket.destroy(reason);
      await assert.rejects(encrypted, reason === undefined ? { code: closed } : { message: "it took too long" });
    }
  });
}

test("a socket that was destroyed before is an error", async () => {
  await using server = await withServer(() => {});
  const socket = await server.open();
  socket.destroy();
  await assert.rejects(encrypt(socket, { host: "127.0.0.1", port: server.port, tls: "prefer" }), { code: closed });
});

test("an encrypted socket carries data, and the address is no server name", async () => {
  const names: unknown[] = [];
  await using server = await withServer((socket) => echoEncrypted(socket, names));
  for (const host of ["127.0.0.1", "localhost", "my_db"]) {
    const plain = await server.open();
    const socket = await encrypt(plain, { host, port: server.port, tls: "require" });
    assert.notEqual(socket, plain);
    assert.deepEqual([socket.listenerCount("data"), plain.listenerCount("data")], [0, 0]);
    assert.equal(await echoOf(socket), "hello");
  }
  assert.deepEqual(names, ["", "localhost", "my_db"]);
});

for (const mode of ["prefer", "allow"] as const) {
  test(`a plain socket carries data if the server does not use TLS: ${mode}`, async () => {
    await using server = await withServer((socket) => {
      socket.write("N");
      socket.on("data", (bytes) => socket.write(bytes));
    });
    const plain = await server.open();
    const before = listenersOf(plain);
    assert.equal(await encrypt(plain, { host: "127.0.0.1", port: server.port, tls: mode }), plain);
    assert.deepEqual(listenersOf(plain), before);
    assert.equal(await echoOf(plain), "hello");
  });
}

test("without TLS, nothing is sent", async () => {
  await using server = await withServer((socket) => socket.destroy());
  const modes: (TlsMode | undefined)[] = ["disable", undefined];
  for (const tls of modes) {
    const plain = await server.open();
    const target = { host: "127.0.0.1", port: server.port, ...(tls === undefined ? {} : { tls }) };
    assert.equal(await encrypt(plain, target), plain);
    assert.equal(plain.bytesWritten, 0);
    plain.destroy();
  }
});

interface FakeServer extends AsyncDisposable {
  readonly port: number;
  /** Connects. */
  open(): Promise<Socket>;
  /** Settles at the next request for TLS. */
  requested(): Promise<void>;
}

/** A server that reads a request for TLS, then does something else than PostgreSQL would. */
async function withServer(respond: (socket: Socket) => void): Promise<FakeServer> {
  const sockets = new Set<Socket>();
  let next = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      assert.deepEqual([...bytes], [...sslRequest]);
      respond(socket);
      next.resolve();
      next = Promise.withResolvers();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { readonly port: number };
  return {
    port,
    requested: () => next.promise,
    async open() {
      const socket = connect(port, "127.0.0.1");
      sockets.add(socket);
      await new Promise((resolve) => socket.once("connect", resolve));
      // Only this test's: an error after the connection was lost.
      socket.on("error", () => {});
      return socket;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function echoEncrypted(socket: Socket, names: unknown[]): void {
  socket.write("S");
  const secure = new TLSSocket(socket, { isServer: true, cert: pem, key: pem });
  secure.on("error", () => {});
  secure.once("data", (bytes) => {
    names.push((secure as { readonly servername?: unknown }).servername || "");
    secure.write(bytes);
  });
}

async function echoOf(socket: Socket): Promise<string> {
  socket.on("error", () => {});
  const answer = new Promise<string>((resolve) => socket.once("data", (bytes) => resolve(bytes.toString())));
  socket.write("hello");
  return await answer;
}

function listenersOf(socket: Socket): number[] {
  return ["data", "error", "close", "end"].map((event) => socket.listenerCount(event));
}
