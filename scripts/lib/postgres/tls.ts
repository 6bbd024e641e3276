import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP, type Socket } from "node:net";
import { connect, type PeerCertificate, type TLSSocket } from "node:tls";
import { hostAndPort, type ServerAddress, type TlsSettings } from "../server-url.ts";
import { systemAuthorities } from "../tls-mode.ts";

/** A server, and how to use TLS with it; by default, not at all. */
export interface TlsTarget extends Pick<ServerAddress, "host" | "port">, TlsSettings {}

/** `SSLRequest`: its length and the number 80877103. Every PostgreSQL server answers with one letter, S or N. */
export const sslRequest: Uint8Array = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/**
 * Negotiates TLS on a connection that has not been used yet. Sets no time limit: destroying the socket ends it.
 *
 * @returns the encrypted socket, or the given one if the mode allows it; neither has a listener
 * @throws {Error} with a `code` that starts with `TLS_`, with `PROTOCOL_VIOLATION`, or with that of a lost connection;
 * the socket is destroyed
 */
export async function encrypt(socket: Socket, target: TlsTarget): Promise<Socket> {
  if (target.tls === undefined || target.tls === "disable") return socket;
  try {
    return await whileOpen(socket, target, () => negotiate(socket, target));
  } catch (error) {
    socket.on("error", ignore);
    socket.destroy();
    throw error;
  }
}

async function negotiate(socket: Socket, target: TlsTarget): Promise<Socket> {
  const trust = await readTrust(target);
  const answer = await firstAnswer(socket);
  if (answer === "S") return handshake(socket, target, trust);
  const address = hostAndPort(target);
  if (answer === "E") throw failure("CONNECTION_CLOSED", `${address} cannot start a session now`);
  if (answer.startsWith("S") || answer.startsWith("N")) {
    if (answer.length > 1) throw failure("TLS_UNEXPECTED_DATA", `${address} sent data before TLS was negotiated`);
    if (target.tls === "prefer" || target.tls === "allow") return socket;
    throw failure("TLS_NOT_OFFERED", `sslmode is ${target.tls}, but the server does not use TLS`);
  }
  throw failure("PROTOCOL_VIOLATION", `${address} does not speak the PostgreSQL protocol`);
}

/** @returns the first bytes that the server sends; all but the first are an attacker's or another protocol's */
function firstAnswer(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once("data", (bytes: Buffer) => {
      const answer = bytes.toString("latin1");
      // An error goes on with its text.
      resolve(answer.startsWith("E") ? "E" : answer);
    });
    socket.write(sslRequest);
  });
}

async function handshake(socket: Socket, target: TlsTarget, trust: Trust): Promise<Socket> {
  // From here on, errors are those of the encrypted socket.
  socket.on("error", ignore);
  const { host } = target;
  const secure = connect({
    socket,
    host,
    // The extension that names the host to the server allows no IP address.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(trust.authorities === undefined ? {} : { ca: trust.authorities }),
    ...(trust.checksName ? {} : { checkServerIdentity: () => undefined }),
    // Checked below: without the certificate, Deno's error does not say that it has expired.
    rejectUnauthorized: false,
  });
  try {
    await whileOpen(secure, target, () => new Promise<void>((resolve) => secure.once("secureConnect", resolve)));
    if (trust.checksChain && !secure.authorized) throw untrusted(secure, target);
    return secure;
  } catch (error) {
    secure.on("error", ignore);
    secure.destroy();
    throw explain(error, target);
  }
}

/** What a certificate has to prove. */
interface Trust {
  readonly checksChain: boolean;
  readonly checksName: boolean;
  readonly authorities?: string[];
}

/**
 * Like libpq, `require` checks the certificate if there is a root certificate. Anybody can get a certificate from a
 * public authority, so with the system's authorities the name is checked too.
 */
async function readTrust({ tls, tlsRootCert }: TlsTarget): Promise<Trust> {
  const checksName = tls === "verify-full";
  const checksChain = checksName || tls === "verify-ca" || (tls === "require" && tlsRootCert !== undefined);
  if (!checksChain || tlsRootCert === undefined) return { checksChain, checksName };
  if (tlsRootCert === systemAuthorities) return { checksChain, checksName: true };
  return { checksChain, checksName, authorities: await readAuthorities(tlsRootCert) };
}

const certificates = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Reads them here, because the runtimes silently ignore a file without certificates. */
async function readAuthorities(file: string): Promise<string[]> {
  try {
    const found = (await readFile(file, "utf8")).match(certificates);
    if (found === null) throw new Error("it contains no certificate in PEM format");
    for (const certificate of found) new X509Certificate(certificate);
    return found;
  } catch (error) {
    throw failure("TLS_ROOT_CERT", `the root certificate ${file} cannot be used: ${textOf(error)}`, error);
  }
}

/** Rejects if the socket fails or closes before the work is done. */
async function whileOpen<Result>(socket: Socket, target: TlsTarget, work: () => Promise<Result>): Promise<Result> {
  const lost = Promise.withResolvers<never>();
  const close = () => lost.reject(closed(target));
  if (socket.destroyed) throw closed(target);
  socket.on("error", lost.reject);
  socket.on("close", close);
  try {
    return await Promise.race([work(), lost.promise]);
  } finally {
    socket.off("error", lost.reject);
    socket.off("close", close);
  }
}

/** OpenSSL's codes, which all runtimes use. */
const problems: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: "is self-signed",
  CERT_HAS_EXPIRED: "has expired",
  CERT_NOT_YET_VALID: "is not valid yet",
  CERT_REVOKED: "was revoked",
  INVALID_PURPOSE: "is not for a server",
};

/** @returns the error of a certificate that proves too little */
function untrusted(secure: TLSSocket, target: TlsTarget): Error {
  const cause: unknown = secure.authorizationError;
  const code = typeof cause === "string" ? cause : ((cause as NodeJS.ErrnoException | null)?.code ?? "");
  const certificate = secure.getPeerCertificate();
  const why = problems[dateProblem(certificate) ?? code] ?? describe(code, certificate, target.host);
  // An attacker may have chosen the names in it.
  const printable = why.replace(/\p{Cc}/gu, "");
  return failure("TLS_CERTIFICATE", `the certificate of ${hostAndPort(target)} ${printable}`, cause);
}

function dateProblem({ valid_from, valid_to }: PeerCertificate): string | undefined {
  if (Date.parse(valid_to) < Date.now()) return "CERT_HAS_EXPIRED";
  return Date.parse(valid_from) > Date.now() ? "CERT_NOT_YET_VALID" : undefined;
}

function describe(code: string, { subject, subjectaltname, issuer }: PeerCertificate, host: string): string {
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return `is for ${subjectaltname || subject?.CN}, not for ${host}`;
  return `is from an authority that is not trusted: ${issuer?.CN ?? issuer?.O ?? code}`;
}

/** @returns an error with a code and a message; some errors of the runtimes have neither */
function explain(error: unknown, target: TlsTarget): unknown {
  const { code = "" } = (error ?? {}) as NodeJS.ErrnoException;
  const isOurs = code.startsWith("TLS_") || code === "CONNECTION_CLOSED";
  const isOfSocket = ["ECONNRESET", "EPIPE", "ETIMEDOUT"].includes(code);
  if (isOurs || isOfSocket) return error;
  return failure("TLS_FAILED", `cannot agree on TLS with ${hostAndPort(target)}: ${textOf(error)}`, error);
}

function failure(code: string, message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

function closed(target: TlsTarget): Error {
  return failure("CONNECTION_CLOSED", `${hostAndPort(target)} closed the connection before TLS was negotiated`);
}

/** Some errors of Bun have no message. */
function textOf(error: unknown): string {
  const { message, code } = (error ?? {}) as { readonly message?: string; readonly code?: string };
  return message?.trim() || code || String(error);
}

function ignore(): void {}
