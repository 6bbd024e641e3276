import type { Socket } from "node:net";
import { type Behaviour, openServer, type WaitServer } from "./wait-server.ts";

/** A server that speaks just enough of PostgreSQL's protocol to misbehave. */
export interface FakeServer extends AsyncDisposable {
  readonly port: number;
  /** The number of connections it has accepted. */
  readonly connections: number;
  /** Everything that clients have sent. */
  received(): Buffer;
  /** What clients have sent after their start-up messages. */
  answers(): Buffer;
}

/** Answers a client's message; `index` counts the messages of a connection, beginning with the start-up message. */
export type Answer = (socket: Socket, index: number, data: Buffer) => void;

const sslRequestLength = 8;

/** Opens a port. Refuses TLS, and passes everything else that clients send to `answer`. */
export async function openFakeServer(answer: Answer, port = 0): Promise<FakeServer> {
  const pieces: Buffer[] = [];
  const answers: Buffer[] = [];
  const behaviour: Behaviour = (socket) => {
    let index = 0;
    socket.on("data", (data: Buffer) => {
      pieces.push(data);
      if (data.length === sslRequestLength) return void socket.write("N");
      if (index > 0) answers.push(data);
      answer(socket, index++, data);
    });
  };
  const server: WaitServer = await openServer(behaviour, port);
  return {
    port: server.port,
    get connections() {
      return server.connections;
    },
    received: () => Buffer.concat(pieces),
    answers: () => Buffer.concat(answers),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Encodes a message of the server. */
export function message(type: string, body: Buffer | string = ""): Buffer {
  const content = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(content.length + 4, 1);
  return Buffer.concat([head, content]);
}

/** An ErrorResponse that ends the session. */
export function fatal(code: string, text: string): Buffer {
  return message("E", ["SFATAL", "VFATAL", `C${code}`, `M${text}`, ""].map((field) => `${field}\0`).join(""));
}

/** Refuses each session, as a server does while it starts. */
export function refusesSessions(code: string, text: string): Behaviour {
  return (socket) => {
    // A startup message is longer than a request for TLS, and Terminate is shorter.
    socket.on("data", ({ length }) => {
      if (length === sslRequestLength) socket.write("N");
      if (length > sslRequestLength) socket.end(fatal(code, text));
    });
  };
}

/** Accepts every login. */
export const loginAccepted = Buffer.concat([
  message("R", Buffer.from([0, 0, 0, 0])),
  message("K", Buffer.from([0, 0, 0, 1, 0, 0, 0, 2])),
  message("Z", "I"),
]);

/** Asks for the password as it is. */
export const clearTextRequest = message("R", Buffer.from([0, 0, 0, 3]));

/** Asks for the MD5 hash of the password, with a salt. */
export const md5Request = message("R", Buffer.from([0, 0, 0, 5, 1, 2, 3, 4]));
