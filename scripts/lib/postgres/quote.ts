/**
 * Quotes a name for SQL. The driver's own `sql(name)` takes a dot for a separator, and a name may contain one.
 *
 * @returns `"name"`, quotes in it doubled
 */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes a text for statements that take no parameters, such as `ALTER ROLE … PASSWORD`. */
export function quoteLiteral(text: string): string {
  return text.includes("\\") ? ` E'${escaped(text).replaceAll("\\", "\\\\")}'` : `'${escaped(text)}'`;
}

function escaped(text: string): string {
  return text.replaceAll("'", "''");
}
