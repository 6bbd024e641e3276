import { fileURLToPath } from "node:url";
import { MessageChannel, Worker } from "node:worker_threads";
import { Wire } from "../pool/wire.ts";
import type { ConnectionTarget } from "../target.ts";
import type { WorkerInput, WorkerOutput } from "./worker.ts";

/** How to run pg_dump. */
export interface PgDumpRun {
  readonly args: readonly string[];
  readonly applicationName: string;
  readonly signal: AbortSignal;
}

/** How pg_dump ended. */
export interface PgDumpEnd {
  readonly exitCode: number;
  readonly dump: string;
  readonly stderr: string;
}

const connectTimeoutMs = 10_000;
const terminate = "X".charCodeAt(0);

/**
 * Runs the pg_dump of `vendor/`, which is compiled to WebAssembly and has no network: it runs in a worker, whose calls
 * of send() and recv() are passed to a connection of this thread. That connection does TLS, and refuses to send a
 * password to a server that could be any program, as every other connection does.
 *
 * @throws {Error} if the connection cannot be opened or is lost, with a code as in `connectionFailure()`
 */
export async function runBridge(target: ConnectionTarget, { args, ...run }: PgDumpRun): Promise<PgDumpEnd> {
  run.signal.throwIfAborted();
  const wire = await Wire.connect({ target, connectTimeoutMs, signal: run.signal });
  const worker = startWorker([...args, "--dbname", connectionString(target, run.applicationName)]);
  const abort = () => wire.destroy(run.signal.reason as Error);
  run.signal.addEventListener("abort", abort, { once: true });
  try {
    return await relay(wire, worker);
  } finally {
    run.signal.removeEventListener("abort", abort);
    wire.destroy(new Error("pg_dump has ended"));
    worker.answers.close();
    await worker.thread.terminate();
  }
}

interface DumpWorker {
  readonly thread: Worker;
  readonly answers: MessageChannel["port1"];
  /** Passes on what the server has sent; null once the connection has ended. */
  deliver(bytes: Uint8Array | null): void;
}

function startWorker(args: readonly string[]): DumpWorker {
  const arrivals = new Int32Array(new SharedArrayBuffer(4));
  const { port1, port2 } = new MessageChannel();
  const input: WorkerInput = { answers: port2, arrivals, args };
  // The file next to this one, with the same extension.
  const file = fileURLToPath(import.meta.url.replace(/bridge(\.\w+)$/, "worker$1"));
  return {
    thread: new Worker(file, { workerData: input, transferList: [port2] }),
    answers: port1,
    deliver(bytes) {
      port1.postMessage(bytes);
      Atomics.add(arrivals, 0, 1);
      Atomics.notify(arrivals, 0);
    },
  };
}

function relay(wire: Wire, { thread, deliver }: DumpWorker): Promise<PgDumpEnd> {
  return new Promise((resolve, reject) => {
    let lost: Error | undefined;
    let isEnding = false;
    const adapt = withoutChannelBinding();
    wire.on("data", (chunk: Buffer) => {
      const bytes = adapt(chunk);
      if (bytes.length > 0) deliver(new Uint8Array(bytes));
    });
    wire.listener = {
      onStatus: () => {},
      onCopy: () => {},
      copyStream: () => undefined,
      onReady: () => {},
      onLost(reason) {
        if (!isEnding) lost = reason;
        deliver(null);
      },
    };
    thread.on("error", reject);
    thread.on("exit", (code) => reject(new Error(`the worker of pg_dump ended with ${code}`)));
    thread.on("message", (output: WorkerOutput) => {
      if ("send" in output) {
        isEnding ||= output.send[0] === terminate && output.send.length === 5;
        wire.write(Buffer.from(output.send));
      } else if (output.exitCode !== 0 && lost !== undefined) reject(lost);
      else resolve(output);
    });
  });
}

/**
 * Over TLS a server also offers to bind the login to the TLS session. libpq takes that for an attack, because it does
 * not see the TLS, so this leaves the plain form as the only offer. All other messages pass.
 */
function withoutChannelBinding(): (chunk: Buffer) => Buffer {
  let first: Buffer | undefined = Buffer.alloc(0);
  return (chunk) => {
    if (first === undefined) return chunk;
    const bytes = Buffer.concat([first, chunk]);
    first = bytes;
    if (bytes.length < 5 || bytes.length < 1 + bytes.readUInt32BE(1)) return Buffer.alloc(0);
    first = undefined;
    const isOffer = bytes.toString("latin1", 0, 1) === "R" && bytes.includes("SCRAM-SHA-256-PLUS\0");
    return isOffer ? Buffer.from("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "latin1") : bytes;
  };
}

function connectionString({ user, password, database }: ConnectionTarget, applicationName: string): string {
  const settings = {
    host: "127.0.0.1",
    user,
    ...(password === undefined ? {} : { password }),
    dbname: database,
    application_name: applicationName,
    client_encoding: "UTF8",
    sslmode: "disable",
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}='${value.replaceAll(/[\\']/g, "\\$&")}'`)
    .join(" ");
}
