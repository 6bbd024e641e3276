import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
// @ts-types="./vendor/pg_dump.d.ts"
import { createPgDump, type PgDumpSettings } from "./vendor/pg_dump.js";

/** What the bridge passes to this worker for each dump. */
export interface WorkerInput {
  /** Receives what the server sends; null once the connection has ended. */
  readonly answers: MessagePort;
  /** Counts the messages on `answers`, to wait for the next one. */
  readonly arrivals: Int32Array;
  readonly args: readonly string[];
}

/** What this worker reports: bytes for the server, then the result. */
export type WorkerOutput =
  | { readonly send: Uint8Array }
  | { readonly exitCode: number; readonly dump: string; readonly stderr: string };

const outputFile = "/tmp/dump.sql";
/** Compiled once: the second dump finds the code that the first has made fast. */
const program = readFile(join(dirname(fileURLToPath(import.meta.url)), "vendor/pg_dump.wasm")).then((bytes) =>
  WebAssembly.compile(new Uint8Array(bytes)),
);

/** The server's end of the connection of one dump. */
class Answers {
  readonly #answers: MessagePort;
  readonly #arrivals: Int32Array;
  #received: Uint8Array = new Uint8Array();
  #isEnded = false;
  /** Whether libpq was told that there is nothing to read. */
  #wasEmpty = false;

  constructor({ answers, arrivals }: WorkerInput) {
    this.#answers = answers;
    this.#arrivals = arrivals;
  }

  /**
   * libpq's recv(). It blocks this thread, but not on the first call that finds nothing: after a large read, libpq tries
   * once more in case there is more. If it needs more, it calls again.
   */
  receive(maxBytes: number): Uint8Array {
    if (this.#received.length === 0) this.#takeArrived(this.#wasEmpty);
    this.#wasEmpty = this.#received.length === 0;
    const piece = this.#received.subarray(0, maxBytes);
    this.#received = this.#received.subarray(piece.length);
    return piece;
  }

  /** libpq's send(). */
  send(bytes: Uint8Array): void {
    this.#wasEmpty = false;
    parentPort?.postMessage({ send: bytes } satisfies WorkerOutput);
  }

  #takeArrived(mustWait: boolean): void {
    while (!this.#isEnded) {
      const seen = Atomics.load(this.#arrivals, 0);
      const next = receiveMessageOnPort(this.#answers) as { message: Uint8Array | null } | undefined;
      if (next !== undefined) {
        this.#isEnded = next.message === null;
        this.#received = next.message ?? this.#received;
        return;
      }
      if (!mustWait) return;
      Atomics.wait(this.#arrivals, 0, seen);
    }
  }
}

async function run(input: WorkerInput): Promise<WorkerOutput> {
  const server = new Answers(input);
  const stderr: string[] = [];
  let exitCode = 0;
  const dump = await createPgDump({
    thisProgram: "pg_dump",
    noExitRuntime: false,
    instantiateWasm: (imports, onInstance) => {
      instantiate(imports, onInstance).catch(fail);
      return {};
    },
    print: () => {},
    printErr: (text) => stderr.push(text),
    onExit: (status) => {
      exitCode = status;
    },
    preRun: [
      (module) => {
        Object.assign(module.ENV, { HOME: "/home/postgres", USER: "postgres", LOGNAME: "postgres" });
        module.onRuntimeInitialized = () => {
          const onRead = module.addFunction((at, maxBytes) => {
            const piece = server.receive(maxBytes);
            module.HEAPU8.set(piece, at);
            return piece.length;
          }, "iii");
          const onWrite = module.addFunction((at, length) => {
            server.send(module.HEAPU8.slice(at, at + length));
            return length;
          }, "iii");
          module._pgl_set_rw_cbs(onRead, onWrite);
        };
      },
    ],
  });
  dump.callMain([...input.args, "--file", outputFile]);
  const text = exitCode === 0 ? dump.FS.readFile(outputFile, { encoding: "utf8" }) : "";
  return { exitCode, dump: text, stderr: stderr.join("\n") };
}

async function instantiate(...[imports, onInstance]: Parameters<PgDumpSettings["instantiateWasm"]>): Promise<void> {
  const module = await program;
  onInstance(await WebAssembly.instantiate(module, imports), module);
}

/** The bridge receives it as an error of the thread. */
function fail(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

parentPort?.on("message", (input: WorkerInput) => {
  run(input).then((output) => parentPort?.postMessage(output), fail);
});
