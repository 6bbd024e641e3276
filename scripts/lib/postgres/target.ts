import { type ServerAddress, type TlsSettings, tlsParameters, urlAddress } from "../server-url.ts";

/** The server to connect to, and the login. */
export interface ConnectionTarget extends ServerAddress, TlsSettings {
  readonly user: string;
  readonly password: string | undefined;
}

/** A target whose sessions have a search path of their own; a pooler refuses it. */
export interface SessionTarget extends ConnectionTarget {
  /** @default that of the database */
  readonly searchPath?: string;
}

/** The user and password of a login. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** @returns `postgres://user:password@host:port/database?sslmode=…` with every part percent-encoded */
export function connectionUrl(target: ConnectionTarget): string {
  const password = target.password === undefined ? "" : `:${encodeURIComponent(target.password)}`;
  return `postgres://${encodeURIComponent(target.user)}${password}@${urlAddress(target)}${tlsParameters(target)}`;
}

/** @returns the URL with `****` for the password, which is safe to print */
export function maskedUrl(target: ConnectionTarget): string {
  return `postgres://${encodeURIComponent(target.user)}:****@${urlAddress(target)}`;
}
