import { EventEmitter, once } from "node:events";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import postgres from "postgres";
import type { ConnectionTarget } from "../target.ts";
import {
  connectionError,
  insecureAuthentication,
  protocolError,
  unprovenServer,
  unsupportedAuthentication,
} from "./connection-error.ts";
import { CopyRows } from "./copy-data.ts";
import { type Reached, type ReachOptions, reach } from "./reach.ts";

/** What a session learns from its wire. */
export interface WireListener {
  /** Before the driver sees a ReadyForQuery. `status`: I for idle, T in a transaction, E in a failed one. */
  onStatus(status: string): void;
  /** Before the driver sees that a COPY begins; since the last `onReady`, `answered` statements have been answered. */
  onCopy(answered: number): void;
  /** After the driver has seen that a COPY TO begins. Returns the stream for its rows, which the driver has created. */
  copyStream(answered: number): Readable | undefined;
  /** After the driver has handled messages, `count` of which were ReadyForQuery. */
  onReady(count: number): void;
  /** Once, when the session has ended. */
  onLost(reason: Error): void;
}

const code = (letter: string) => letter.charCodeAt(0);
const [authentication, failure, keyData, ready] = [code("R"), code("E"), code("K"), code("Z")];
const [row, completed, closed] = [code("D"), code("C"), code("3")];
const [copyIn, copyOut] = [code("G"), code("H")];
/** Messages that are looked into; all others are skipped by their length. */
const notedLetters = new Set([authentication, failure, keyData, ready, copyOut]);
/** What a server sends before it is ready. */
const startupLetters = new Set(["R", "E", "K", "N", "S", "Z", "v"].map(code));
/** The shortest length of a message, if more than its header is read. */
const minBytes = new Map([
  [authentication, 9],
  [keyData, 13],
  [ready, 6],
]);
/** A noted message is collected in memory, if it arrives in pieces; of a longer error, only the beginning is read. */
const maxNotedBytes = 1024 * 1024;

const insecureRequests: Readonly<Record<number, string>> = { 3: "in clear text", 5: "as an MD5 hash" };

const authenticated = 0;
const scramChallenge = 11;
/** The server's proof; the driver checks it. */
const scramFinal = 12;
/** Those that the driver can answer: success, and requests in clear text, by MD5 and by SCRAM. */
const authenticationKinds = new Set([authenticated, 3, 5, 10, scramChallenge, scramFinal]);
/** A server uses 4096 by default; a million take about half a second. */
const maxScramIterations = 1_000_000;

const cancelRequest = Buffer.from([0, 0, 0, 16, 4, 210, 22, 46]);
const cancelTimeoutMs = 5_000;
const keepAliveMs = 60_000;
const terminate = Buffer.from([code("X"), 0, 0, 0, 4]);
/** How long the server may take to close its end. */
const terminateMs = 2_000;

/**
 * A connection to a server: what the driver's `socket` option returns.
 *
 * All that the server sends goes to the driver unchanged, except for the rows of a COPY, which go to its stream. On the
 * way, the wire notes the transaction status, requests for a password, and the reason for which the server ends the
 * session. The driver is never told that the connection has closed: it would reconnect, and it would throw where nothing
 * can catch it if a write was pending. What it writes after that is discarded.
 */
export class Wire extends EventEmitter {
  /** Whether a result has begun and has not been completed. */
  hasOpenRows = false;
  /** What a cancel request must name. */
  key: Buffer | undefined;

  readonly #target: ConnectionTarget;
  readonly #socket: Socket;
  readonly #isEncrypted: boolean;
  /** Whether the server has yet to prove that it knows the login. */
  #needsProof: boolean;
  #loginTimer: ReturnType<typeof setTimeout> | undefined;
  #listener: WireListener | undefined;
  #isLost = false;
  #isClosing = false;
  #reason: Error | undefined;
  /** Number of bytes of the current message that have not arrived. */
  #skip = 0;
  /** The beginning of a message that has not arrived as a whole. */
  #partial: Buffer | undefined;
  #readyCount = 0;
  /** What takes the rows of a COPY TO; undefined once another message has arrived. */
  #rows: CopyRows | undefined;

  private constructor(target: ConnectionTarget, { socket, isEncrypted }: Reached, requireScram: boolean) {
    super();
    this.#target = target;
    this.#socket = socket;
    this.#isEncrypted = isEncrypted;
    this.#needsProof = requireScram;
  }

  /** Connects, with TLS if the target asks for it. */
  static async connect(options: ReachOptions, requireScram = false): Promise<Wire> {
    const { target, connectTimeoutMs } = options;
    const started = performance.now();
    const wire = new Wire(target, await reach(options), requireScram);
    wire.#follow(Math.max(1, connectTimeoutMs - (performance.now() - started)));
    return wire;
  }

  /** Asks the server to cancel the statement that the session is running. Settles when the server has passed it on. */
  static async cancel(options: ReachOptions, key: Buffer): Promise<void> {
    const { socket } = await reach({ ...options, connectTimeoutMs: cancelTimeoutMs });
    const timer = setTimeout(() => socket.destroy(), cancelTimeoutMs);
    socket.on("error", () => {}).resume();
    socket.end(Buffer.concat([cancelRequest, key]));
    try {
      await once(socket, "close");
    } finally {
      clearTimeout(timer);
    }
  }

  set listener(listener: WireListener) {
    this.#listener = listener;
  }

  /** Whether the login is complete. */
  get isReady(): boolean {
    return this.#loginTimer === undefined;
  }

  // The part of a socket that the driver uses.

  write(chunk: Buffer, callback?: () => void): boolean {
    if (this.#isLost) callback && queueMicrotask(callback);
    else this.#socket.write(chunk, callback);
    // The driver stops pipelining after back pressure; the session decides about that.
    return true;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  // The part that a session uses.

  /** Lets the process end while the connection is open. */
  unref(): void {
    this.#socket.unref();
  }

  ref(): void {
    this.#socket.ref();
  }

  /** Sends Terminate, and waits until the server has closed its end. */
  async close(): Promise<void> {
    if (this.#isLost) return;
    this.#isClosing = true;
    this.#socket.ref();
    const timer = setTimeout(() => this.#socket.destroy(), terminateMs);
    const closed = once(this.#socket, "close").catch(() => {});
    this.#socket.end(terminate);
    await closed;
    clearTimeout(timer);
  }

  /** Ends the session at once, without Terminate; the server rolls its transaction back. */
  destroy(reason: Error): void {
    this.#reason ??= reason;
    this.#lose();
  }

  #follow(loginTimeoutMs: number): void {
    this.#loginTimer = setTimeout(() => this.destroy(connectionError("CONNECT_TIMEOUT", this.#target)), loginTimeoutMs);
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveMs);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => {
      this.#reason ??= error;
    });
    socket.on("end", () => this.#lose());
    socket.on("close", () => this.#lose());
  }

  #lose(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    clearTimeout(this.#loginTimer);
    if (this.#isClosing) this.#socket.end();
    else this.#socket.destroy();
    this.#listener?.onLost(this.#reason ?? connectionError("CONNECTION_CLOSED", this.#target));
  }

  #receive(chunk: Buffer): void {
    if (this.#isLost) return;
    this.#readyCount = 0;
    for (let rest = this.#takeRows(chunk); rest.length > 0; ) {
      this.#rows = undefined;
      const { end, isCopyOut } = this.#scan(rest);
      if (this.#isLost) return;
      this.emit("data", rest.subarray(0, end));
      if (isCopyOut) this.#beginRows();
      rest = this.#takeRows(rest.subarray(end));
    }
    if (this.#reason !== undefined) this.#lose();
    else if (this.#readyCount > 0) this.#listener?.onReady(this.#readyCount);
  }

  #beginRows(): void {
    const stream = this.#listener?.copyStream(this.#readyCount);
    if (stream !== undefined) this.#rows = new CopyRows(stream, () => this.pause());
  }

  #takeRows(chunk: Buffer): Buffer {
    return this.#rows === undefined ? chunk : this.#rows.take(chunk);
  }

  /** @returns how much of a chunk to pass to the driver; after the message that begins a COPY TO, the stream exists */
  #scan(chunk: Buffer): { readonly end: number; readonly isCopyOut: boolean } {
    let at = this.#skip;
    let isCopyOut = false;
    const bytes = this.#partial === undefined ? chunk : Buffer.concat([this.#partial, chunk]);
    const passedBefore = bytes.length - chunk.length;
    this.#partial = undefined;
    while (at < bytes.length && !isCopyOut) {
      const isWhole = bytes.length - at >= 5;
      const letter = bytes[at] as number;
      const length = isWhole ? 1 + bytes.readUInt32BE(at + 1) : 5;
      const isNoted = notedLetters.has(letter);
      if (isWhole && !this.#isPlausible(letter, length, isNoted)) {
        this.destroy(protocolError(this.#target));
        break;
      }
      if (!isWhole || (isNoted && bytes.length - at < Math.min(length, maxNotedBytes))) {
        this.#partial = Buffer.from(bytes.subarray(at));
        at = bytes.length;
        break;
      }
      if (letter === ready) this.#noteReady(bytes[at + 5] as number);
      else if (isNoted) this.#note(letter, bytes.subarray(at, at + length));
      else if (letter === row) this.hasOpenRows = true;
      else if (letter === copyIn) this.#listener?.onCopy(this.#readyCount);
      else if (letter === completed || letter === closed) this.hasOpenRows = false;
      isCopyOut = letter === copyOut;
      at += length;
    }
    this.#skip = Math.max(0, at - bytes.length);
    return { end: Math.min(at - passedBefore, chunk.length), isCopyOut };
  }

  #isPlausible(letter: number, length: number, isNoted: boolean): boolean {
    if (length < 5 || (isNoted && length < (minBytes.get(letter) ?? 5))) return false;
    // An error may quote a parameter of any length.
    if (isNoted && length > maxNotedBytes && !(this.isReady && letter === failure)) return false;
    return this.isReady || startupLetters.has(letter);
  }

  #note(letter: number, message: Buffer): void {
    if (letter === failure) this.#noteFailure(message);
    else if (letter === keyData) this.key = Buffer.from(message.subarray(5, 13));
    else if (letter === copyOut) this.#listener?.onCopy(this.#readyCount);
    else if (letter === authentication) this.#noteAuthentication(message);
  }

  #noteReady(status: number): void {
    clearTimeout(this.#loginTimer);
    this.#loginTimer = undefined;
    this.#readyCount++;
    this.#listener?.onStatus(String.fromCharCode(status));
  }

  /** A server that refuses the login or ends the session says why; after that it closes the connection. */
  #noteFailure(message: Buffer): void {
    const fields = readFields(message);
    const { severity, severity_local: localSeverity } = fields;
    if (this.isReady && !isFatal(severity ?? localSeverity)) return;
    // PgBouncer sends no plain severity. Whatever code it gives, it has lost the session behind this one.
    const isOfPooler = this.isReady && severity === undefined;
    this.#reason ??= isOfPooler
      ? connectionError("CONNECTION_CLOSED", this.#target, fields["message"])
      : new postgres.PostgresError(fields as unknown as string);
  }

  /**
   * Any program that listens on the port can ask for the password, and the driver would comply. It would throw where
   * nothing can catch it if the request is malformed, and it would compute a hash for as long as it is told to.
   */
  #noteAuthentication(message: Buffer): void {
    const kind = message.readUInt32BE(5);
    const how = insecureRequests[kind];
    if (kind === scramFinal) this.#needsProof = false;
    if (how !== undefined && !this.#isEncrypted)
      this.destroy(insecureAuthentication(this.#target, how, this.#needsProof));
    else if (kind === scramChallenge && !isChallenge(message.toString("latin1", 9)))
      this.destroy(protocolError(this.#target));
    else if (kind === authenticated && this.#needsProof) this.destroy(unprovenServer(this.#target));
    else if (!authenticationKinds.has(kind)) this.destroy(unsupportedAuthentication(this.#target, kind));
  }
}

function isFatal(severity: string | undefined): boolean {
  return severity === "FATAL" || severity === "PANIC";
}

function isChallenge(text: string): boolean {
  const [, iterations] = /^r=[^,]+,s=[^,]+,i=([1-9][0-9]*)(?:,|$)/.exec(text) ?? [];
  return Number(iterations) <= maxScramIterations;
}

const fieldNames: Readonly<Record<string, string>> = {
  S: "severity_local",
  V: "severity",
  C: "code",
  M: "message",
  D: "detail",
  H: "hint",
  F: "file",
  L: "line",
  R: "routine",
};

function readFields(message: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const field of message.toString("utf8", 5).split("\0")) {
    const name = fieldNames[field.charAt(0)];
    if (name !== undefined) fields[name] = field.slice(1);
  }
  return fields;
}
