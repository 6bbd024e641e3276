/** The values of libpq's `sslmode` that the driver supports. */
export const tlsModes = ["disable", "allow", "prefer", "require", "verify-full"] as const;

/** How a connection uses TLS. */
export type TlsMode = (typeof tlsModes)[number];
