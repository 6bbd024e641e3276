import { readFile } from "node:fs/promises";
import { request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import { judgeSocketError, tlsMismatch } from "./failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** What to trust. */
export interface HttpOptions {
  /** Path of the certificate of an authority to trust in addition to the system's. */
  readonly caCertFile?: string | undefined;
}

/** What to request. */
export interface HttpRequest extends HttpOptions {
  readonly url: URL;
  /** The name of the target, safe to print. */
  readonly name: string;
}

/** The answer of a server, its body cut short. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** A server that answers a GET with a status below 400. No proxy is used, because the server itself is meant. */
export function httpTarget(url: URL): WaitTarget {
  const name = printable(url);
  const judge = ({ status }: HttpAnswer) => (status < 400 ? usable : notYet(`it answers ${status}`));
  return { name, look: (signal) => lookOverHttp({ url, name }, judge, signal) };
}

/**
 * Sends one request and judges the answer.
 *
 * @throws {ScriptError} `TLS` (exit 2) if only one side speaks TLS
 */
export async function lookOverHttp(
  request: HttpRequest,
  judge: (answer: HttpAnswer) => Finding,
  signal: AbortSignal,
): Promise<Finding> {
  const { name } = request;
  const answer = await get(request, signal).catch((error: unknown) => judgeSocketError(error, name));
  if ("isUsable" in answer) return answer;
  // The answer of Go and nginx to plain HTTP on a port with TLS.
  const wantsTls = answer.status === 400 && /HTTP request .*to (an )?HTTPS/.test(answer.body);
  if (wantsTls) throw tlsMismatch(name, `It answers ${answer.body.trim().slice(0, 200)}`);
  return judge(answer);
}

/** @returns the URL without password, query and fragment */
export function printable(url: URL): string {
  const user = url.username === "" ? "" : `${url.username}:****@`;
  return `${url.protocol}//${user}${url.host}${url.pathname === "/" ? "" : url.pathname}`;
}

async function get({ url, caCertFile }: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const ca = caCertFile === undefined ? {} : { ca: await readFile(caCertFile) };
  const send = url.protocol === "https:" ? requestTls : requestPlain;
  return await new Promise<HttpAnswer>((resolve, reject) => {
    // Without an agent the connection is closed after the answer; nothing keeps the process alive.
    const sent = send(url.href, { agent: false, headers: { connection: "close" }, signal, ...ca }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        if (body.length < 4096) body += chunk;
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    sent.on("error", reject);
    sent.end();
  });
}
