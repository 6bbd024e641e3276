import type { ParsedStatement } from "../statements.ts";

/** A comment `-- lint-ignore <rule>[, <rule>]: <reason>`. */
export interface Suppression {
  /** In UTF-16 code units. */
  readonly offset: number;
  readonly rules: readonly string[];
  readonly reason: string;
  /** Index of the statement that it is about; undefined if none follows. */
  readonly statement: number | undefined;
}

/** A comment that looks like one, whatever it names. */
const pattern = /^--\s*lint-ignore\b[ \t]*([^:\n]*?)[ \t]*(?::[ \t]*(.*?))?[ \t]*$/;

/**
 * Finds the suppressions of a text. One on a line of a statement is about that statement; any other is about the one
 * below.
 */
export async function findSuppressions(text: string, statements: readonly ParsedStatement[]): Promise<Suppression[]> {
  if (!text.includes("lint-ignore")) return [];
  const comments = await findComments(text);
  return comments.flatMap(({ offset, content }) => {
    const match = pattern.exec(content);
    if (match === null) return [];
    const rules = (match[1] ?? "").split(",").map((rule) => rule.trim());
    return [{ offset, rules, reason: match[2] ?? "", statement: statementOf(text, offset, statements) }];
  });
}

/** A string may contain what looks like a comment, so PostgreSQL's scanner finds them. */
async function findComments(text: string): Promise<{ offset: number; content: string }[]> {
  const { scan } = await import("libpg-query");
  const { tokens } = await scan(text);
  const bytes = Buffer.from(text);
  return tokens
    .filter(({ tokenName }) => tokenName === "SQL_COMMENT")
    .map(({ start, end }) => ({
      offset: bytes.subarray(0, start).toString().length,
      content: bytes.subarray(start, end).toString(),
    }));
}

function statementOf(text: string, offset: number, statements: readonly ParsedStatement[]): number | undefined {
  const lineStart = text.lastIndexOf("\n", offset) + 1;
  const onLine = statements.findLastIndex(({ start, end }) => start < offset && end > lineStart);
  const index = onLine >= 0 ? onLine : statements.findIndex(({ start }) => start > offset);
  return index < 0 ? undefined : index;
}
