import type { TlsMode } from "../tls-mode.ts";

/** The server to connect to, and the login. */
export interface ConnectionTarget {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  /** @default "disable" */
  readonly tls?: TlsMode;
  /** File with the certificates (PEM) of the authorities to trust; by default, those of the system. */
  readonly tlsRootCert?: string;
}

/** The user and password of a login. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** @returns `postgres://user:password@host:port/database` with every part percent-encoded */
export function connectionUrl(target: ConnectionTarget): string {
  const password = target.password === undefined ? "" : `:${encodeURIComponent(target.password)}`;
  return `postgres://${encodeURIComponent(target.user)}${password}@${location(target)}`;
}

/** @returns the URL with `****` for the password, which is safe to print */
export function maskedUrl(target: ConnectionTarget): string {
  return `postgres://${encodeURIComponent(target.user)}:****@${location(target)}`;
}

function location({ host, port, database }: ConnectionTarget): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}/${encodeURIComponent(database)}`;
}
