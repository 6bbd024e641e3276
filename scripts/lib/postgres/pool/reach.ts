import { once } from "node:events";
import { Socket } from "node:net";
import type { ConnectionTarget } from "../target.ts";
import { encrypt } from "../tls.ts";
import { connectionError } from "./connection-error.ts";

/** How to connect. */
export interface ReachOptions {
  readonly target: ConnectionTarget;
  /** Limits the time from connecting until the login is complete. */
  readonly connectTimeoutMs: number;
  /** Gives up connecting. */
  readonly signal: AbortSignal;
}

/** A connection that nothing has been sent on yet, apart from the negotiation of TLS. */
export interface Reached {
  readonly socket: Socket;
  readonly isEncrypted: boolean;
}

/** Connects, with TLS if the target asks for it. */
export async function reach(options: ReachOptions): Promise<Reached> {
  const socket = new Socket();
  try {
    return await withinLimits(options, connectSocket(socket, options.target));
  } catch (error) {
    socket.on("error", () => {}).destroy();
    throw error;
  }
}

/** Waits for a step of connecting, but neither beyond the time limit nor after the pool was closed. */
export async function withinLimits<Result>(
  { target, connectTimeoutMs, signal }: ReachOptions,
  work: Promise<Result>,
): Promise<Result> {
  const givenUp = Promise.withResolvers<never>();
  const giveUp = (code: "CONNECT_TIMEOUT" | "CONNECTION_DESTROYED") => givenUp.reject(connectionError(code, target));
  const abort = () => giveUp("CONNECTION_DESTROYED");
  const timer = setTimeout(() => giveUp("CONNECT_TIMEOUT"), connectTimeoutMs);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, givenUp.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

async function connectSocket(socket: Socket, target: ConnectionTarget): Promise<Reached> {
  socket.connect(target.port, target.host);
  await once(socket, "connect");
  const encrypted = await encrypt(socket, target);
  return { socket: encrypted, isEncrypted: encrypted !== socket };
}
