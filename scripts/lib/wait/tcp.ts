import { connect, type Socket } from "node:net";
import { judgeSocketError } from "./failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** Where something listens. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/**
 * How long an open connection has to stay open: a proxy in front of nothing accepts, and closes at once, as soon as a busy
 * machine lets it.
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
 * Opens a connection, talks, and closes it whatever comes.
 *
 * @param talk gets the open connection; what it hands to `done` is the result
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
