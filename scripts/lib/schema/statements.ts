import type { Node } from "libpg-query";

/** A statement of a SQL text. Offsets are UTF-16 code units. */
export interface ParsedStatement {
  /** From its first token; the semicolon is not part of it. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** PostgreSQL's parse tree: an object with one key, the kind of statement. */
  readonly node: Node;
}

/** A text that PostgreSQL's parser refuses. */
export class SyntaxFailure extends Error {
  override readonly name = "SyntaxFailure";
  /** In UTF-16 code units. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/**
 * Splits a SQL text with PostgreSQL's own parser (that of version 18, which has a few more reserved words than 16).
 *
 * @throws {SyntaxFailure}
 */
export async function parseStatements(text: string): Promise<ParsedStatement[]> {
  if (text.trim() === "") return [];
  const { parse } = await import("libpg-query");
  const { stmts = [] } = await parse(text).catch((error: unknown) => {
    throw syntaxFailure(error, text);
  });
  const offsetAt = offsetsOf(text);
  return stmts.map(({ stmt, stmt_location: at = 0, stmt_len: bytes }) => {
    const start = offsetAt(at);
    const end = bytes === undefined ? text.length : offsetAt(at + bytes);
    return { text: text.slice(start, end), start, end, node: stmt as Node };
  });
}

/** @returns the kind of a statement, such as `IndexStmt` */
export function kindOf({ node }: ParsedStatement): string {
  return Object.keys(node)[0] ?? "";
}

/** The parser counts bytes; what is asked for must not decrease. */
function offsetsOf(text: string): (byte: number) => number {
  const bytes = Buffer.from(text);
  if (bytes.length === text.length) return (byte) => byte;
  const read = { bytes: 0, units: 0 };
  return (byte) => {
    read.units += bytes.subarray(read.bytes, byte).toString().length;
    read.bytes = byte;
    return read.units;
  };
}

function syntaxFailure(error: unknown, text: string): unknown {
  if (!(error instanceof Error)) return error;
  const { sqlDetails: { cursorPosition = 0 } = {} } = error as { sqlDetails?: { readonly cursorPosition?: number } };
  return new SyntaxFailure(error.message, [...text].slice(0, cursorPosition).join("").length);
}
