import { setTimeout as sleep } from "node:timers/promises";
import type { Subscription } from "../driver.ts";
import { quoteIdentifier } from "../quote.ts";
import { connectionError } from "./connection-error.ts";
import { Session, type SessionEvents, type SessionOptions } from "./session.ts";

interface Listening {
  readonly channel: string;
  readonly onNotify: (payload: string) => void;
  readonly onListen: () => void;
}

/** An error of a caller's function is the caller's: the driver would hide it. */
const call = queueMicrotask;

const pauseMs = { first: 100, max: 2_000 };

/**
 * Listens to channels in a session of its own. If the session ends, it opens another until it is closed; notifications
 * sent in between are lost.
 */
export class Listener {
  readonly #options: SessionOptions;
  readonly #listenings = new Set<Listening>();
  #session: Promise<Session> | undefined;
  #isResuming = false;
  #isClosed = false;
  /** Number of commands in flight, during which the process must not end. */
  #running = 0;

  constructor(options: SessionOptions) {
    this.#options = {
      ...options,
      onNotify: (channel, payload) => {
        for (const listening of this.#listenings)
          if (listening.channel === channel) call(() => listening.onNotify(payload));
      },
    };
  }

  /** @throws the reason if it cannot start */
  readonly listen = async (
    channel: string,
    onNotify: (payload: string) => void,
    onListen: () => void = () => {},
  ): Promise<Subscription> => {
    if (this.#isClosed) throw connectionError("CONNECTION_ENDED", this.#options.target);
    const listening = { channel, onNotify, onListen };
    this.#listenings.add(listening);
    try {
      await this.#begin(listening);
    } catch (error) {
      this.#listenings.delete(listening);
      throw error;
    }
    return { unlisten: () => this.#unlisten(listening) };
  };

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listenings.clear();
    const session = await this.#session?.catch(() => undefined);
    await session?.close();
  }

  async #begin(listening: Listening): Promise<void> {
    const session = await this.#open();
    await this.#run(session, `listen ${quoteIdentifier(listening.channel)}`);
    call(listening.onListen);
  }

  async #open(): Promise<Session> {
    this.#session ??= Session.open(this.#options, this.#events);
    try {
      return await this.#session;
    } catch (error) {
      this.#session = undefined;
      throw error;
    }
  }

  async #unlisten(listening: Listening): Promise<void> {
    this.#listenings.delete(listening);
    if ([...this.#listenings].some(({ channel }) => channel === listening.channel)) return;
    const session = await this.#session?.catch(() => undefined);
    if (session !== undefined)
      await this.#run(session, `unlisten ${quoteIdentifier(listening.channel)}`).catch(() => {});
  }

  async #run(session: Session, command: string): Promise<void> {
    session.ref();
    this.#running++;
    try {
      await session.run(command);
    } finally {
      this.#running--;
      if (this.#running === 0) session.unref();
    }
  }

  readonly #events: SessionEvents = {
    onOpen: () => {},
    onIdle: () => {},
    onLost: () => {
      this.#session = undefined;
      void this.#resume();
    },
  };

  async #resume(): Promise<void> {
    if (this.#isResuming) return;
    this.#isResuming = true;
    for (let ms = pauseMs.first; this.#listenings.size > 0; ms = Math.min(ms * 2, pauseMs.max)) {
      await sleep(ms, undefined, { ref: false });
      if (await this.#beginAll()) break;
    }
    this.#isResuming = false;
  }

  async #beginAll(): Promise<boolean> {
    try {
      for (const listening of this.#listenings) await this.#begin(listening);
      return true;
    } catch {
      return false;
    }
  }
}
