import { createHash } from "node:crypto";
import { connect, createServer } from "node:net";
import { errorCode } from "../failure.ts";
import { sslRequest } from "../tls.ts";

/** Below the ephemeral ports of the system (from 32768 on Linux, 49152 on macOS). */
const firstPort = 20_000;
const portCount = 10_000;
const attempts = 100;
const probeTimeoutMs = 1000;

/**
 * Chooses the port of a new server. The port is derived from the folder, so that two projects rarely collide; if it
 * cannot be used, the next one that can is chosen.
 *
 * @param isUsable whether a port can be chosen
 */
export async function choosePort(
  folder: string,
  isUsable: (port: number) => Promise<boolean> = isPortFree,
): Promise<number> {
  const start = createHash("sha256").update(folder).digest().readUInt32BE() % portCount;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = firstPort + ((start + attempt) % portCount);
    if (await isUsable(port)) return port;
  }
  throw new Error(`none of the ${attempts} ports from ${firstPort + start} can be used`);
}

const maxStarts = 5;

/**
 * Starts a new server on a port of its own. If another program takes the port before the server listens on it, chooses
 * again.
 *
 * @param start fails with `PORT_TAKEN` if the port is taken
 */
export async function startOnNewPort<Result>(
  choose: () => Promise<number>,
  start: (port: number) => Promise<Result>,
): Promise<{ readonly port: number; readonly result: Result }> {
  for (let attempt = 1; ; attempt++) {
    const port = await choose();
    try {
      return { port, result: await start(port) };
    } catch (error) {
      if (errorCode(error) !== "PORT_TAKEN" || attempt === maxStarts) throw error;
    }
  }
}

/** @returns whether a server could currently listen on this port of 127.0.0.1 */
export async function isPortFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      // The port is free, but privileged; starting the server reports that.
      else if (error.code === "EACCES") resolve(true);
      else reject(error);
    });
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Identifies what listens on a port of 127.0.0.1, in words for an error message. */
export async function identifyListener(port: number): Promise<string> {
  const answer = await firstByte(port);
  return answer === "S" || answer === "N" ? "another PostgreSQL server" : "another program";
}

function firstByte(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const finish = (answer: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(probeTimeoutMs, () => finish(""));
    socket.on("error", () => finish(""));
    socket.on("close", () => finish(""));
    socket.on("connect", () => socket.write(sslRequest));
    socket.on("data", (bytes: Buffer) => finish(bytes.toString("latin1", 0, 1)));
  });
}
