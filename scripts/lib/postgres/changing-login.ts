import { once } from "node:events";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type DriverOptions, failingStream } from "./driver.ts";

/** The user and password of a login. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Connections that log in with the same credentials, counted until the driver has asked for the password of each. */
interface Round {
  readonly credentials: Credentials;
  opened: number;
  asked: number;
  closed: number;
  /** By when the last of them has logged in or timed out. */
  overAt: number;
}

const pollIntervalMs = 5;

/**
 * Makes each new connection of a pool use the current credentials, so that a rotated user name is picked up as well as
 * a rotated password.
 *
 * The driver sets one user for the whole pool, and asks for a password without saying for which connection. So
 * connections log in by rounds that share credentials: a connection with new credentials waits until the driver has
 * asked for the password of every connection of the previous round, or that connection has closed or timed out.
 */
export class ChangingLogin {
  readonly #read: () => Credentials | Promise<Credentials>;
  readonly #timeoutMs: number;
  #round: Round | undefined;

  /**
   * @param read called for each new connection
   * @param timeoutMs how long the driver waits for a connection to be ready
   */
  constructor(read: () => Credentials | Promise<Credentials>, timeoutMs: number) {
    this.#read = read;
    this.#timeoutMs = timeoutMs;
  }

  /** The driver's `socket` option, which it calls to open a connection. */
  async open(options: DriverOptions): Promise<Duplex> {
    try {
      const round = await this.#join(await this.#read());
      options.connection["user"] = round.credentials.user;
      const socket = new Socket();
      socket.once("close", () => round.closed++);
      return await connectSocket(socket, options, this.#timeoutMs);
    } catch (error) {
      return failingStream(error as Error);
    }
  }

  /** The driver's `password` option. */
  password(): string {
    if (this.#round === undefined) throw new Error("the driver asked for a password before it opened a connection");
    this.#round.asked++;
    return this.#round.credentials.password;
  }

  async #join(credentials: Credentials): Promise<Round> {
    for (;;) {
      if (this.#round === undefined || (!isSame(this.#round.credentials, credentials) && isOver(this.#round))) {
        this.#round = { credentials, opened: 0, asked: 0, closed: 0, overAt: 0 };
      }
      const round = this.#round;
      if (isSame(round.credentials, credentials)) {
        round.opened++;
        round.overAt = performance.now() + this.#timeoutMs;
        return round;
      }
      await sleep(pollIntervalMs);
    }
  }
}

async function connectSocket(socket: Socket, options: DriverOptions, timeoutMs: number): Promise<Socket> {
  const [host, port] = [options.host[0] as string, options.port[0] as number];
  socket.setTimeout(timeoutMs, () => socket.destroy(timedOut(host, port, timeoutMs)));
  socket.connect(port, host);
  await once(socket, "connect");
  socket.setTimeout(0);
  // The driver checks this name against the server's certificate.
  return Object.assign(socket, { host });
}

function timedOut(host: string, port: number, timeoutMs: number): Error {
  return Object.assign(new Error(`${host}:${port} did not answer within ${timeoutMs} ms`), { code: "ETIMEDOUT" });
}

/** A connection may be counted as both asked and closed, so only the greater count is reliable. */
function isOver({ opened, asked, closed, overAt }: Round): boolean {
  return Math.max(asked, closed) >= opened || performance.now() > overAt;
}

function isSame(one: Credentials, other: Credentials): boolean {
  return one.user === other.user && one.password === other.password;
}
