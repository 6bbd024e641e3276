import type { ScanToken } from "libpg-query";

/** What was typed, divided. */
export interface Typed {
  /** Each ends with its semicolon. */
  readonly statements: readonly string[];
  /** What is not complete yet. */
  readonly rest: string;
}

const codeOf = (character: string) => character.charCodeAt(0);
const [semicolon, opening, closing] = [codeOf(";"), codeOf("("), codeOf(")")];

/**
 * Divides what was typed into statements, with PostgreSQL's own scanner: a semicolon in a string, a comment, parentheses
 * or the body of a function ends none.
 */
export async function divideTyped(typed: string): Promise<Typed> {
  const bytes = Buffer.from(typed);
  const statements: string[] = [];
  let [start, depth] = [0, 0];
  for (const { tokenType, end } of await scanTyped(typed)) {
    if (tokenType === opening) depth++;
    else if (tokenType === closing) depth--;
    if (tokenType !== semicolon || depth > 0) continue;
    const text = bytes.subarray(start, end).toString();
    if (await isOpenBody(text)) continue;
    statements.push(text.trim());
    start = end;
  }
  return { statements, rest: bytes.subarray(start).toString() };
}

/** @returns no tokens if the text ends within a string or a comment */
async function scanTyped(typed: string): Promise<readonly ScanToken[]> {
  if (!typed.includes(";")) return [];
  const { scan } = await import("libpg-query");
  // The scanner's result cannot be read if a token contains a control character.
  const safe = typed.replaceAll(/(?![\t\n\r\u0080-\u009f])\p{Cc}/gu, " ");
  return scan(safe).then(
    ({ tokens }) => tokens,
    () => [],
  );
}

/** Whether a text ends within `BEGIN ATOMIC … END`. */
async function isOpenBody(text: string): Promise<boolean> {
  if (!/\bbegin\s+atomic\b/i.test(text)) return false;
  const { parse } = await import("libpg-query");
  return parse(text).then(
    () => false,
    (error: Error) => error.message.endsWith("at end of input"),
  );
}
