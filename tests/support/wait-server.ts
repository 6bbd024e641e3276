import { createServer, connect as dial, type Server, type Socket } from "node:net";

/** A server that a test waits for. */
export interface WaitServer extends AsyncDisposable {
  readonly port: number;
  /** How many connections it has accepted. */
  readonly connections: number;
  /** Changes how future connections are treated. */
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

/** Accepts and closes, like a proxy without a server behind it. */
export const closesAtOnce: Behaviour = (socket) => socket.destroy();

/** Accepts and stays silent, like a process that was suspended. */
export const saysNothing: Behaviour = () => {};

/** Answers every request over HTTP. */
export function answersHttp(status: number, body = ""): Behaviour {
  const answer = `HTTP/1.1 ${status} x\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
  return (socket) => void socket.once("data", () => socket.end(answer));
}

/** Forwards each connection to another server. */
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
