/** One object of a dump, with its statements. */
export interface DumpBlock {
  /** `TABLE`, `FUNCTION`, `ACL`; "" for the settings at the beginning. */
  readonly type: string;
  /** Without its schema, as pg_dump prints it: `append_events(…)`. */
  readonly name: string;
  /** "-" if it belongs to none. */
  readonly schema: string;
  readonly owner: string;
  /** The header and everything up to the next one. */
  readonly sql: string;
}

/** What may contain the text of a header without being one, and single-line comments, of which headers consist. */
const tokens = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|'[^']*'|"[^"]*"|--[^\n]*/g;
const header = /^-- Name: (.*); Type: (.*); Schema: (.*); Owner: (.*)$/;
const headerStart = "--\n";

/**
 * Splits a dump of pg_dump at the headers of its objects. The blocks together are the whole dump: a text that looks like
 * a header, in a function or a comment, does not split anything.
 */
export function splitDump(dump: string): DumpBlock[] {
  const found: { readonly at: number; readonly match: RegExpExecArray }[] = [];
  for (const { at, text } of comments(dump)) {
    const match = header.exec(text);
    if (match !== null) found.push({ at: at - headerStart.length, match });
  }
  const settings = { type: "", name: "", schema: "-", owner: "", sql: dump.slice(0, found[0]?.at) };
  return [
    settings,
    ...found.map(({ at, match: [, name = "", type = "", schema = "", owner = ""] }, index) => {
      return { name, type, schema, owner, sql: dump.slice(at, found[index + 1]?.at) };
    }),
  ];
}

function* comments(dump: string): Generator<{ readonly at: number; readonly text: string }> {
  const scanner = new RegExp(tokens);
  for (let match = scanner.exec(dump); match !== null; match = scanner.exec(dump)) {
    const [text] = match;
    if (text.startsWith("--")) yield { at: match.index, text };
    if (!text.startsWith("$")) continue;
    const end = dump.indexOf(text, scanner.lastIndex);
    scanner.lastIndex = end < 0 ? dump.length : end + text.length;
  }
}

/** @returns how a block is named in messages: `TABLE read_model.orders` */
export function describeBlock({ type, schema, name }: DumpBlock): string {
  return schema === "-" ? `${type} ${name}` : `${type} ${schema}.${name}`;
}
