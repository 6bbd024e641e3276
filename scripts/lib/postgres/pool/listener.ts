import { setTimeout as sleep } from "node:timers/promises";
import type { Subscription } from "../driver.ts";
import { quoteIdentifier } from "../quote.ts";
import { Session, type SessionEvents, type SessionOptions } from "./session.ts";
import { connectionError } from "./wire.ts";

interface Ear {
  readonly channel: string;
  readonly onNotify: (payload: string) => void;
  readonly onListen: () => void;
}

const pauseMs = { first: 100, max: 2_000 };

/**
 * Listens to channels in a session of its own. If the session ends, it opens another one until it is closed; what was
 * notified in between is lost.
 */
export class Listener {
  readonly #options: SessionOptions;
  readonly #ears = new Set<Ear>();
  #session: Promise<Session> | undefined;
  #isResuming = false;
  #isClosed = false;
  /** Number of commands in flight, during which the process must not end. */
  #running = 0;

  constructor(options: SessionOptions) {
    this.#options = {
      ...options,
      onNotify: (channel, payload) => {
        for (const ear of this.#ears) if (ear.channel === channel) ear.onNotify(payload);
      },
    };
  }

  /** @throws the reason for which it cannot begin */
  readonly listen = async (
    channel: string,
    onNotify: (payload: string) => void,
    onListen: () => void = () => {},
  ): Promise<Subscription> => {
    if (this.#isClosed) throw connectionError("CONNECTION_ENDED", this.#options.target);
    const ear = { channel, onNotify, onListen };
    this.#ears.add(ear);
    try {
      await this.#begin(ear);
    } catch (error) {
      this.#ears.delete(ear);
      throw error;
    }
    return { unlisten: () => this.#unlisten(ear) };
  };

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#ears.clear();
    const session = await this.#session?.catch(() => undefined);
    await session?.close();
  }

  async #begin(ear: Ear): Promise<void> {
    const session = await this.#open();
    await this.#run(session, `listen ${quoteIdentifier(ear.channel)}`);
    ear.onListen();
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

  async #unlisten(ear: Ear): Promise<void> {
    this.#ears.delete(ear);
    if ([...this.#ears].some(({ channel }) => channel === ear.channel)) return;
    const session = await this.#session?.catch(() => undefined);
    if (session !== undefined) await this.#run(session, `unlisten ${quoteIdentifier(ear.channel)}`).catch(() => {});
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
    for (let ms = pauseMs.first; this.#ears.size > 0; ms = Math.min(ms * 2, pauseMs.max)) {
      await sleep(ms, undefined, { ref: false });
      if (await this.#beginAll()) break;
    }
    this.#isResuming = false;
  }

  async #beginAll(): Promise<boolean> {
    try {
      for (const ear of this.#ears) await this.#begin(ear);
      return true;
    } catch {
      return false;
    }
  }
}
