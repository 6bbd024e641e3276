import { readFile } from "node:fs/promises";
import { request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import { exitCodes } from "../cli/script-error.ts";
import { tlsFailure } from "../postgres/tls-failure.ts";
import { judgeSocketError } from "./failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** What to trust. */
export interface HttpOptions {
  /** Path of a certificate authority's certificate, to trust in addition to the system's. */
  readonly caCertFile?: string | undefined;
}

/** What to request. */
export interface HttpRequest extends HttpOptions {
  readonly url: URL;
  /** The name of the target, safe to print. */
  readonly name: string;
}

/** The response of a server, with its body truncated. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** A server that responds to a GET with a status below 400. Uses no proxy, because the server itself is meant. */
export function httpTarget(url: URL): WaitTarget {
  const name = printable(url);
  const judge = ({ status }: HttpAnswer) => (status < 400 ? usable : notYet(`it responds with ${status}`));
  return { name, probe: (signal) => probeHttp({ url, name }, judge, signal) };
}

/**
 * Sends one request and judges the response.
 *
 * @throws {ScriptError} `TLS` (exit 2) if only one side uses TLS
 */
export async function probeHttp(
  request: HttpRequest,
  judge: (answer: HttpAnswer) => Finding,
  signal: AbortSignal,
): Promise<Finding> {
  const { name } = request;
  const answer = await get(request, signal).catch((error: unknown) => judgeSocketError(error, name));
  if ("isUsable" in answer) return answer;
  // How Go and nginx respond to plain HTTP on a TLS port.
  const wantsTls = answer.status === 400 && /HTTP request .*to (an )?HTTPS/.test(answer.body);
  if (wantsTls) throw tlsFailure(name, new Error(`It responds: ${answer.body.trim().slice(0, 200)}`), exitCodes.usage);
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
    // Without an agent, the connection is closed after the response, so that nothing keeps the process alive.
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
