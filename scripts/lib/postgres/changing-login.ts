import { once } from "node:events";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type DriverOptions, failingStream } from "./driver.ts";

/** Who logs in. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Connections that log in with the same credentials, counted until each has been asked for its password. */
interface Round {
  readonly credentials: Credentials;
  opened: number;
  asked: number;
  closed: number;
  /** When the last of them has logged in or was given up. */
  overAt: number;
}

const pollIntervalMs = 5;

/**
 * Lets each new connection of a pool log in with the credentials of that moment, so that a changed login is followed as
 * well as a changed password.
 *
 * The driver fixes the user for a whole pool and asks for the password without saying for which connection. So
 * connections log in in rounds, each with one pair of credentials; the first connection with other credentials waits
 * until all of the round before have been asked for the password, or can't be any more.
 */
export class ChangingLogin {
  readonly #read: () => Credentials | Promise<Credentials>;
  readonly #timeoutMs: number;
  #round: Round | undefined;

  /**
   * @param read asked at each new connection
   * @param timeoutMs after how long the driver gives up a connection that is not ready
   */
  constructor(read: () => Credentials | Promise<Credentials>, timeoutMs: number) {
    this.#read = read;
    this.#timeoutMs = timeoutMs;
  }

  /** The driver's `socket`: called before each connection is made. */
  async open(options: DriverOptions): Promise<Duplex> {
    try {
      const round = await this.#join(await this.#read());
      options.connection["user"] = round.credentials.user;
      const socket = new Socket();
      socket.once("close", () => round.closed++);
      return await reach(socket, options, this.#timeoutMs);
    } catch (error) {
      return failingStream(error as Error);
    }
  }

  /** The driver's `password`. */
  password(): string {
    if (this.#round === undefined) throw new Error("a password was asked for before a connection was made");
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

async function reach(socket: Socket, options: DriverOptions, timeoutMs: number): Promise<Socket> {
  const [host, port] = [options.host[0] as string, options.port[0] as number];
  socket.setTimeout(timeoutMs, () => socket.destroy(timedOut(host, port, timeoutMs)));
  socket.connect(port, host);
  await once(socket, "connect");
  socket.setTimeout(0);
  // The driver compares the name with the server's certificate.
  return Object.assign(socket, { host });
}

function timedOut(host: string, port: number, timeoutMs: number): Error {
  return Object.assign(new Error(`${host}:${port} did not answer for ${timeoutMs} ms`), { code: "ETIMEDOUT" });
}

/** A connection may be asked and closed: of both counts only the greater one says for sure how many are through. */
function isOver({ opened, asked, closed, overAt }: Round): boolean {
  return Math.max(asked, closed) >= opened || performance.now() > overAt;
}

function isSame(one: Credentials, other: Credentials): boolean {
  return one.user === other.user && one.password === other.password;
}
