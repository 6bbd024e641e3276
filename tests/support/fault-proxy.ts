import { createServer, connect as dial, type Socket } from "node:net";

/** A proxy whose connections can be cut at any moment. */
export interface CuttingProxy extends AsyncDisposable {
  readonly port: number;
  /** Cuts every open connection. New ones are accepted. */
  cut(): void;
  /** Passes on requests but drops answers: the client does not learn what the server did. */
  muteAnswers(isMuted: boolean): void;
}

/** Opens a proxy to a server on this machine. */
export async function openCuttingProxy(serverPort: number): Promise<CuttingProxy> {
  const sockets = new Set<Socket>();
  let isMuted = false;
  const server = createServer((client) => {
    const upstream = dial(serverPort, "127.0.0.1");
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (data) => upstream.write(data));
    upstream.on("data", (data) => {
      if (!isMuted) client.write(data);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as { readonly port: number }).port,
    cut,
    muteAnswers(isNowMuted) {
      isMuted = isNowMuted;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      cut();
      await closed;
    },
  };
}
