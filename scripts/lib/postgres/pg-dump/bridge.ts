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
  /** By default, the run has a thread of its own. */
  readonly thread?: DumpThread | undefined;
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
export async function runBridge(target: ConnectionTarget, { thread, ...run }: PgDumpRun): Promise<PgDumpEnd> {
  run.signal.throwIfAborted();
  if (thread === undefined) {
    await using own = new DumpThread();
    return await runBridge(target, { ...run, thread: own });
  }
  const wire = await Wire.connect({ target, connectTimeoutMs, signal: run.signal });
  const abort = () => wire.destroy(run.signal.reason as Error);
  run.signal.addEventListener("abort", abort, { once: true });
  try {
    return await thread.run(wire, [...run.args, "--dbname", connectionString(target, run.applicationName)]);
  } finally {
    run.signal.removeEventListener("abort", abort);
    wire.destroy(new Error("pg_dump has ended"));
  }
}

/** A thread for pg_dump, which is compiled as soon as the thread exists. It runs one dump after the other. */
export class DumpThread implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #failed = Promise.withResolvers<never>();

  constructor() {
    // The file next to this one, with the same extension.
    this.#worker = new Worker(fileURLToPath(import.meta.url.replace(/bridge(\.\w+)$/, "worker$1")));
    this.#worker.on("error", this.#failed.reject);
    this.#worker.on("exit", (code) => this.#failed.reject(new Error(`the worker of pg_dump ended with ${code}`)));
    this.#failed.promise.catch(() => {});
  }

  async run(wire: Wire, args: readonly string[]): Promise<PgDumpEnd> {
    const arrivals = new Int32Array(new SharedArrayBuffer(4));
    const { port1, port2 } = new MessageChannel();
    const deliver = (bytes: Uint8Array | null) => {
      port1.postMessage(bytes);
      Atomics.add(arrivals, 0, 1);
      Atomics.notify(arrivals, 0);
    };
    const ended = Promise.withResolvers<PgDumpEnd>();
    const onMessage = relay(wire, deliver, ended);
    this.#worker.on("message", onMessage);
    this.#worker.postMessage({ answers: port2, arrivals, args } satisfies WorkerInput, [port2]);
    try {
      return await Promise.race([ended.promise, this.#failed.promise]);
    } finally {
      this.#worker.off("message", onMessage);
      port1.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Passes on what the server sends. @returns what to do with a message of the thread */
function relay(
  wire: Wire,
  deliver: (bytes: Uint8Array | null) => void,
  ended: PromiseWithResolvers<PgDumpEnd>,
): (output: WorkerOutput) => void {
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
  return (output) => {
    if ("send" in output) {
      isEnding ||= output.send[0] === terminate && output.send.length === 5;
      wire.write(Buffer.from(output.send));
    } else if (output.exitCode !== 0 && lost !== undefined) ended.reject(lost);
    else ended.resolve(output);
  };
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
