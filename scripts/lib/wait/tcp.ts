import { connect, type Socket } from "node:net";
import { hostAndPort } from "../server-url.ts";
import { judgeSocketError } from "./failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** Where something listens. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/**
 * How long a connection has to stay open. A proxy without a server behind it accepts connections and closes them at
 * once, or shortly afterwards on a busy machine.
 */
const minOpenMs = 100;

/** A port that accepts a connection and keeps it open. */
export function tcpTarget(endpoint: Endpoint): WaitTarget {
  const name = `tcp://${hostAndPort(endpoint)}`;
  return { name, probe: (signal) => probePort(endpoint, name, signal) };
}

async function probePort(endpoint: Endpoint, name: string, signal: AbortSignal): Promise<Finding> {
  try {
    const isClosed = await withSocket(endpoint, signal, (socket, done) => {
      socket.once("close", () => done(true));
      setTimeout(() => done(false), minOpenMs);
    });
    return isClosed ? notYet("it accepts connections and closes them at once") : usable;
  } catch (error) {
    return judgeSocketError(error, name);
  }
}

/**
 * Opens a connection for `talk`, and always closes it.
 *
 * @param talk receives the open connection, and passes its result to `done`
 * @throws the socket's error
 */
async function withSocket<Result>(
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
