import { createServer, connect as dial, type Socket } from "node:net";

/** Where to cut a connection: at once, or in the middle of the next data that is sent in this direction. */
export type CutPlace = "now" | "request" | "answer";

/** A proxy that cuts single connections. If the server is away, it accepts connections and hangs up. */
export interface ChaosProxy extends AsyncDisposable {
  readonly port: number;
  /** Cuts a random connection, if there is one. */
  cutOne(place: CutPlace): void;
}

interface Line {
  readonly cut: () => void;
  place: CutPlace | undefined;
}

/** Opens a proxy to a server of this machine. */
export async function openChaosProxy(serverPort: number): Promise<ChaosProxy> {
  const lines = new Set<Line>();
  const server = createServer((client) => {
    const upstream = dial(serverPort, "127.0.0.1");
    const cut = () => {
      lines.delete(line);
      client.destroy();
      upstream.destroy();
    };
    const line: Line = { cut, place: undefined };
    lines.add(line);
    passOn(client, upstream, line, "request");
    passOn(upstream, client, line, "answer");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { readonly port: number }).port,
    cutOne(place) {
      const line = [...lines][Math.floor(Math.random() * lines.size)];
      if (line === undefined) return;
      line.place = place;
      if (place === "now") line.cut();
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const { cut } of lines) cut();
      await closed;
    },
  };
}

function passOn(from: Socket, to: Socket, line: Line, place: CutPlace): void {
  from.on("error", () => {});
  from.on("close", line.cut);
  from.on("data", (data: Buffer) => {
    if (line.place === place) to.write(data.subarray(0, data.length / 2), line.cut);
    else to.write(data);
  });
}
