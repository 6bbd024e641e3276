/** `SSLRequest`: its length and the number 80877103. Every PostgreSQL server answers with one letter, S or N. */
export const sslRequest: Uint8Array = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
