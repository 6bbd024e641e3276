import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
// @ts-types="./vendor/pg_dump.d.ts"
import { createPgDump } from "./vendor/pg_dump.js";

/** What the bridge passes to this worker. */
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
const { answers, arrivals, args } = workerData as WorkerInput;
let received: Uint8Array = new Uint8Array();
let isEnded = false;
/** Whether libpq was told that there is nothing to read. */
let wasEmpty = false;

/**
 * libpq's recv(). It blocks this thread, but not on the first call that finds nothing: after a large read, libpq tries
 * once more in case there is more. If it needs more, it calls again.
 */
function receive(maxBytes: number): Uint8Array {
  if (received.length === 0) takeArrived(wasEmpty);
  wasEmpty = received.length === 0;
  const piece = received.subarray(0, maxBytes);
  received = received.subarray(piece.length);
  return piece;
}

function takeArrived(mustWait: boolean): void {
  while (!isEnded) {
    const seen = Atomics.load(arrivals, 0);
    const next = receiveMessageOnPort(answers) as { message: Uint8Array | null } | undefined;
    if (next !== undefined) {
      isEnded = next.message === null;
      received = next.message ?? received;
      return;
    }
    if (!mustWait) return;
    Atomics.wait(arrivals, 0, seen);
  }
}

function send(bytes: Uint8Array): void {
  wasEmpty = false;
  parentPort?.postMessage({ send: bytes } satisfies WorkerOutput);
}

async function run(): Promise<WorkerOutput> {
  const stderr: string[] = [];
  let exitCode = 0;
  const dump = await createPgDump({
    thisProgram: "pg_dump",
    noExitRuntime: false,
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
            const piece = receive(maxBytes);
            module.HEAPU8.set(piece, at);
            return piece.length;
          }, "iii");
          const onWrite = module.addFunction((at, length) => {
            send(module.HEAPU8.slice(at, at + length));
            return length;
          }, "iii");
          module._pgl_set_rw_cbs(onRead, onWrite);
        };
      },
    ],
  });
  dump.callMain([...args, "--file", outputFile]);
  const text = exitCode === 0 ? dump.FS.readFile(outputFile, { encoding: "utf8" }) : "";
  return { exitCode, dump: text, stderr: stderr.join("\n") };
}

parentPort?.postMessage(await run());
