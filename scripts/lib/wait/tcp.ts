import { connect, type Socket } from "node:net";
import { judgeSocketError } from "./failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** Where something listens. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/**
 * How long a connection has to stay open. A proxy without a server behind it accepts a connection and closes it at
 * once, or a little later on a busy machine.
 */
const lastingMs = 100;

/** A port that accepts a connection and keeps it. */
export function tcpTarget(endpoint: Endpoint): WaitTarget {
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  const name = `tcp://${host}:${endpoint.port}`;
  return { name, look: (signal) => lookAtPort(endpoint, name, signal) };
}

async function lookAtPort(endpoint: Endpoint, name: string, signal: AbortSignal): Promise<Finding> {
  try {
    const isClosed = await converse(endpoint, signal, (socket, done) => {
      socket.once("close", () => done(true));
      setTimeout(() => done(false), lastingMs);
    });
    return isClosed ? notYet("it accepts connections and closes them at once") : usable;
  } catch (error) {
    return judgeSocketError(error, name);
  }
}

/**
 * Opens a connection, talks, and closes it in any case.
 *
 * @param talk receives the open connection, and passes the result to `done`
 * @throws the socket's error
 */
export async function converse<Result>(
  { host, port }: Endpoint,
  signal: AbortSignal,
  talk: (socket: Socket, done: (result: Result) => void) => void,
): Promise<Result> {
  const socket = connect({ host, port });
  const close = () => socket.destroy();
  signal.addEventListener("abort", close, { once: true });
  try {
    return await new Promise<Result>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => talk(socket, resolve));
    });
  } finally {
    signal.removeEventListener("abort", close);
    socket.on("error", () => {});
    close();
  }
}
