import { systemAuthorities, type TlsMode } from "./tls-mode.ts";

/** Where a database is. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly database: string;
}

/** How connections to a server use TLS. */
export interface TlsSettings {
  readonly tls?: TlsMode;
  /** The PEM file of the only authorities to trust, or `system`; by default, those that the system trusts. */
  readonly tlsRootCert?: string;
}

/** @returns `host:5432`, with brackets around an IPv6 address */
export function hostAndPort({ host, port }: Pick<ServerAddress, "host" | "port">): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** @returns the part of a server's URL after the credentials: `host:5432/database` */
export function urlAddress(server: ServerAddress): string {
  return `${hostAndPort(server)}/${encodeURIComponent(server.database)}`;
}

/**
 * Whether the mode refuses connections without TLS, so that URLs must contain it. Otherwise they omit it: `prefer` is
 * the default of libpq and pgjdbc, but node-postgres treats it as `require`.
 */
export function demandsTls(mode: string | undefined): boolean {
  return mode !== undefined && !["disable", "allow", "prefer"].includes(mode);
}

/** @returns the parameters of libpq's URLs: `?sslmode=verify-full&sslrootcert=…`; empty if TLS is not demanded */
export function tlsParameters({ tls, tlsRootCert }: TlsSettings): string {
  if (!demandsTls(tls)) return "";
  const rootCert = tlsRootCert === undefined ? "" : `&sslrootcert=${encodeURIComponent(tlsRootCert)}`;
  return `?sslmode=${tls}${rootCert}`;
}

/** @returns the parameters of pgjdbc's URLs; it has another name for the authorities that Java trusts */
export function jdbcTlsParameters(settings: TlsSettings): string {
  const parameters = tlsParameters(settings);
  if (settings.tlsRootCert !== systemAuthorities) return parameters;
  return parameters.replace(/&sslrootcert=.*/, "&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory");
}
