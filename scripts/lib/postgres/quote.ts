/**
 * Quotes a name for SQL. The driver's `sql(name)` would split a name at its dots.
 *
 * @returns `"name"`, with quotes doubled
 */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes text for statements that take no parameters, such as `ALTER ROLE … PASSWORD`. */
export function quoteLiteral(text: string): string {
  return text.includes("\\") ? ` E'${escaped(text).replaceAll("\\", "\\\\")}'` : `'${escaped(text)}'`;
}

function escaped(text: string): string {
  return text.replaceAll("'", "''");
}
