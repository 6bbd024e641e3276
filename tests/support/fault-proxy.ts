import { createServer, connect as dial, type Socket } from "node:net";

/** A proxy that does to connections what networks do. */
export interface FaultProxy extends AsyncDisposable {
  readonly port: number;
  /** The number of connections it has accepted. */
  readonly connections: number;
  /** Cuts every open connection. New ones are accepted. */
  cut(): void;
  /** Cuts a random connection, if there is one: now, or in the middle of the next data from one side. */
  cutOne(when: "now" | Direction): void;
  /** Cuts each connection, open or new, once it has passed on this many more bytes. */
  cutAfter(bytes: number, from?: Direction): void;
  /** Passes on requests but drops answers: the client does not learn what the server did. */
  muteAnswers(isMuted: boolean): void;
  /** Drops everything, even the end of a connection, as if a cable was pulled. */
  freeze(isFrozen: boolean): void;
  /** Keeps what the clients of open connections send until it is released. New ones are not affected. */
  hold(): { release(): void };
  /** Closes each new connection at once, as if the server was down. */
  refuse(isRefusing: boolean): void;
}

/** Who sends the bytes. */
export type Direction = "server" | "client";

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  readonly passed: Record<Direction, number>;
  /** Whose next data is passed on by half, before the connection is cut. */
  halved: Direction | undefined;
  /** What is passed on when it is released; undefined while nothing is held. */
  held: Buffer[] | undefined;
}

/** Opens a proxy to a server on this machine. */
export async function openFaultProxy(serverPort: number): Promise<FaultProxy> {
  const links = new Set<Link>();
  const limits = { server: Infinity, client: Infinity };
  const state = { connections: 0, isMuted: false, isFrozen: false, isRefusing: false };

  const drop = (link: Link) => {
    links.delete(link);
    link.client.destroy();
    link.upstream.destroy();
  };
  const pass = (link: Link, from: Direction, data: Buffer) => {
    if (state.isFrozen || (state.isMuted && from === "server")) return;
    if (from === "client" && link.held !== undefined) return void link.held.push(data);
    const room = limits[from] - link.passed[from];
    link.passed[from] += data.length;
    const to = from === "server" ? link.client : link.upstream;
    const limit = link.halved === from ? Math.floor(data.length / 2) : room;
    to.write(data.subarray(0, Math.max(0, limit)), () => {
      if (data.length >= limit) drop(link);
    });
  };
  const accept = (client: Socket) => {
    state.connections++;
    client.on("error", () => {});
    if (state.isRefusing) return void client.destroy();
    const upstream = dial(serverPort, "127.0.0.1");
    const link: Link = { client, upstream, passed: { server: 0, client: 0 }, halved: undefined, held: undefined };
    links.add(link);
    upstream.on("error", () => {});
    upstream.on("close", () => state.isFrozen || drop(link));
    client.on("close", () => drop(link));
    client.on("data", (data: Buffer) => pass(link, "client", data));
    upstream.on("data", (data: Buffer) => pass(link, "server", data));
    if (limits.server === 0 || limits.client === 0) drop(link);
  };

  const server = createServer(accept);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => links.forEach(drop);
  return {
    port: (server.address() as { readonly port: number }).port,
    get connections() {
      return state.connections;
    },
    cut,
    cutOne(when) {
      const link = [...links][Math.floor(Math.random() * links.size)];
      if (link === undefined) return;
      if (when === "now") drop(link);
      else link.halved = when;
    },
    cutAfter(bytes, from = "server") {
      limits[from] = bytes;
      for (const link of links) link.passed[from] = 0;
    },
    muteAnswers(isMuted) {
      state.isMuted = isMuted;
    },
    freeze(isFrozen) {
      state.isFrozen = isFrozen;
    },
    hold() {
      const holding = [...links];
      for (const link of holding) link.held = [];
      const release = (link: Link) => {
        const { held = [] } = link;
        link.held = undefined;
        for (const data of held) pass(link, "client", data);
      };
      return { release: () => holding.forEach(release) };
    },
    refuse(isRefusing) {
      state.isRefusing = isRefusing;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      cut();
      await closed;
    },
  };
}
