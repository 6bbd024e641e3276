import { createServer, connect as dial, type Server, type Socket } from "node:net";

/** A server that a test puts in the way of a wait. */
export interface WaitServer extends AsyncDisposable {
  readonly port: number;
  /** How many connections it has got. */
  readonly connections: number;
  /** Treats the connections to come in another way. */
  become(behaviour: Behaviour): void;
}

/** What a server does with a connection. */
export type Behaviour = (socket: Socket) => void;

/** Opens a port. */
export async function openServer(behaviour: Behaviour, port = 0): Promise<WaitServer> {
  const sockets = new Set<Socket>();
  let current = behaviour;
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    current(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    port: (server.address() as { readonly port: number }).port,
    get connections() {
      return connections;
    },
    become(next) {
      current = next;
    },
    [Symbol.asyncDispose]: () => close(server, sockets),
  };
}

/** Accepts and closes, as a proxy does with nothing behind it. */
export const closesAtOnce: Behaviour = (socket) => socket.destroy();

/** Accepts and says nothing, as a process does that was paused. */
export const saysNothing: Behaviour = () => {};

/** Answers every request over HTTP. */
export function answersHttp(status: number, body = ""): Behaviour {
  const answer = `HTTP/1.1 ${status} x\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
  return (socket) => void socket.once("data", () => socket.end(answer));
}

/** Refuses each session as PostgreSQL does while it starts, in its own protocol. */
export function refusesSessions(sqlState: string, message: string): Behaviour {
  const fields = ["SFATAL", "VFATAL", `C${sqlState}`, `M${message}`].map((field) => `${field}\0`).join("");
  const body = Buffer.from(`${fields}\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(body.length + 4, 1);
  return (socket) => {
    // Eight bytes ask for TLS; a request for a session is longer, and a farewell is shorter.
    socket.on("data", ({ length }) => {
      if (length === 8) socket.write("N");
      if (length > 8) socket.end(Buffer.concat([head, body]));
    });
  };
}

/** Hands each connection on to another server. */
export function leadsTo(port: number): Behaviour {
  return (socket) => {
    const upstream = dial(port, "127.0.0.1");
    upstream.on("error", () => socket.destroy());
    upstream.on("close", () => socket.destroy());
    socket.on("close", () => upstream.destroy());
    socket.pipe(upstream).pipe(socket);
  };
}

async function close(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  for (const socket of sockets) socket.destroy();
  await closed;
}
