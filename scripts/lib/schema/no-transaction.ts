import type { ParsedStatement } from "./statements.ts";

/** Whether the comments before the first statement of a file say that it is run without a transaction. */
export function isRunWithoutTransaction(text: string, statements: readonly ParsedStatement[]): boolean {
  return /^--\s*no-transaction\s*$/m.test(text.slice(0, statements[0]?.start));
}
