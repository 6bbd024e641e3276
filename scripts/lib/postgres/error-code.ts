/** @returns the SQLSTATE or system error code that an error carries, or "" */
export function errorCode(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}
