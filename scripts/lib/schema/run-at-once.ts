import type { Sql } from "../postgres/driver.ts";
import { offsetOf } from "./placeholders.ts";
import type { Place } from "./prepare.ts";
import type { ParsedStatement } from "./statements.ts";

/** Several statements in one message. */
interface Message {
  readonly text: string;
  /** Where each statement begins. */
  readonly starts: readonly number[];
}

/**
 * Whether the server reads the statements of a file as the parser does if they arrive as one text. The server splits it
 * before it runs anything, and its settings decide what a backslash in a string means.
 */
export function canRunAtOnce(statements: readonly ParsedStatement[]): boolean {
  return statements.every(({ text }) => !text.includes("\\"));
}

/**
 * Runs the statements of a file in one message, which takes a fraction of the time of a message each. The server stops
 * at the first one that fails.
 */
export async function runAtOnce(tx: Sql, place: Place): Promise<void> {
  const { statements } = place.prepared;
  const message = compose(statements);
  let done = 0;
  const count = (row: object) => {
    if (mark in row) done = Number((row as { readonly [mark]: unknown })[mark]);
  };
  try {
    await tx.unsafe(message.text).simple().forEach(count);
  } catch (error) {
    place.statement = statements[done];
    blame(place, message, error as { position?: string });
    throw error;
  }
}

const mark = "cqrs_statements_done";

/** A row behind each statement shows which one has failed. */
function compose(statements: readonly ParsedStatement[]): Message {
  let text = "";
  const starts: number[] = [];
  for (const [index, statement] of statements.entries()) {
    starts.push(text.length);
    // It may end with a comment.
    text += `${statement.text}\n;select ${index + 1} as ${mark};\n`;
  }
  return { text, starts };
}

/** An error that has a position concerns the statement there: one that the server cannot read fails before all others. */
function blame(place: Place, { text, starts }: Message, error: { position?: string }): void {
  if (error.position === undefined) return;
  const offset = offsetOf(text, Number(error.position));
  const index = starts.findLastIndex((start) => start <= offset);
  place.statement = place.prepared.statements[index];
  error.position = `${[...text.slice(starts[index], offset)].length + 1}`;
}
