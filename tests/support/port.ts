import { createServer } from "node:net";

/** Neither those that the system hands out nor those of stacks: another program could take one before it is used. */
const ports = { first: 30_000, count: 2_700 };

/** @returns a port on which nothing listened a moment ago */
export async function unusedPort(): Promise<number> {
  for (;;) {
    const port = ports.first + Math.floor(Math.random() * ports.count);
    if (await canListen(port)) return port;
  }
}

async function canListen(port: number): Promise<boolean> {
  const server = createServer();
  const isListening = await new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => resolve(true));
  });
  if (isListening) await new Promise((resolve) => server.close(resolve));
  return isListening;
}
