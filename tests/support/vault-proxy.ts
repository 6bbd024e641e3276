import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";

/** What the proxy does with a request. */
export type Treatment =
  | "pass"
  /** Accepts the request and never answers. */
  | "mute"
  /** Forwards the request, and closes the connection before the answer. */
  | "lose-answer"
  /** Answers with this status. */
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown };

/** A proxy that can inject faults between a client and Vault. */
export interface VaultProxy extends AsyncDisposable {
  readonly address: string;
  /** Decides how to treat each request from now on. */
  treat(decide: (request: { readonly method: string; readonly path: string }) => Treatment): void;
  /** The requests received, in order: `GET sys/health`. */
  readonly seen: string[];
}

/**
 * Opens a proxy in front of a Vault.
 *
 * @param tls the certificate and key for HTTPS, in PEM
 */
export async function openVaultProxy(
  target: string,
  tls?: { readonly cert: string; readonly key: string },
): Promise<VaultProxy> {
  let decide: (request: { readonly method: string; readonly path: string }) => Treatment = () => "pass";
  const seen: string[] = [];
  const handle = (incoming: IncomingMessage, answer: ServerResponse) => {
    const asked = { method: incoming.method ?? "", path: (incoming.url ?? "").replace(/^\/v1\//, "") };
    seen.push(`${asked.method} ${asked.path}`);
    respond(decide(asked), incoming, answer, target);
  };
  const server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { readonly port: number };
  return {
    address: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    seen,
    treat(next) {
      decide = next;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function respond(treatment: Treatment, incoming: IncomingMessage, answer: ServerResponse, target: string): void {
  if (treatment === "mute") return;
  if (treatment === "pass" || treatment === "lose-answer") {
    forward(incoming, answer, target, treatment === "lose-answer");
    return;
  }
  answer.writeHead(treatment.status, { "content-type": "application/json", ...treatment.headers });
  answer.end(JSON.stringify(treatment.body ?? { errors: [] }));
}

function forward(incoming: IncomingMessage, answer: ServerResponse, target: string, isLost: boolean): void {
  const options = { method: incoming.method ?? "GET", headers: { ...incoming.headers, host: new URL(target).host } };
  const upstream = request(`${target}${incoming.url}`, options, (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("end", () => {
      if (isLost) {
        incoming.socket.destroy();
        return;
      }
      answer.writeHead(response.statusCode ?? 502, { "content-type": "application/json" });
      answer.end(Buffer.concat(chunks));
    });
  });
  upstream.on("error", () => answer.destroy());
  incoming.pipe(upstream);
}
