import { type ServerAddress, type TlsSettings, tlsParameters, urlAddress } from "../server-url.ts";

/** The server to connect to, and the login. */
export interface ConnectionTarget extends ServerAddress, TlsSettings {
  readonly user: string;
  readonly password: string | undefined;
}

/** A target with demands on its sessions. */
export interface SessionTarget extends ConnectionTarget {
  /** A pooler refuses it. @default that of the database */
  readonly searchPath?: string;
  /** Whether the server must prove by SCRAM that it knows the login, so that no other program can pose as it. */
  readonly requireScram?: boolean;
}

/** The user and password of a login. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
  /** Whether the server must prove by SCRAM that it knows the login, so that no other program can pose as it. */
  readonly requireScram?: boolean;
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
