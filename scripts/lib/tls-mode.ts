/** The values of libpq's `sslmode`. `allow` means the same as `prefer`. */
export const tlsModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;

/** How a connection uses TLS. */
export type TlsMode = (typeof tlsModes)[number];

/** The value of `sslrootcert` that means the authorities that the system trusts. */
export const systemAuthorities = "system";
