/** A string, quoted identifier or comment that has begun and not ended. */
interface OpenToken {
  /** What ends it, or must be skipped because it contains what would. */
  readonly marks: RegExp;
  readonly end: string;
  /** Comments nest. */
  readonly nests?: string;
}

/** Comments and quoted tokens by how they begin; words, because `$` and `e` do not quote within one; and delimiters. */
const nextToken =
  /--[^\n]*|\/\*|e'|['"]|\$(?:[a-z_\u0080-\u{10ffff}][\w\u0080-\u{10ffff}]*)?\$|[\w\u0080-\u{10ffff}][\w$\u0080-\u{10ffff}]*|[^\s]/giu;
const comment: OpenToken = { marks: /\/\*|\*\//g, end: "*/", nests: "/*" };
const escapedString: OpenToken = { marks: /''|\\[\s\S]|'/g, end: "'" };
const quoted = new Map<string, OpenToken>([
  ["/*", comment],
  ["e'", escapedString],
  ["E'", escapedString],
  // A doubled quote ends it and begins the next at once.
  ["'", { marks: /'/g, end: "'" }],
  ['"', { marks: /"/g, end: '"' }],
]);

/**
 * Divides SQL into statements while it is typed or read, each part once: a semicolon in a string, a comment,
 * parentheses or the body of a function ends none. Text that no statement could contain is divided all the same, so
 * that the server can say what is wrong with it.
 */
export class StatementReader {
  #text = "";
  #open: OpenToken | undefined;
  #levels = 0;
  #depth = 0;
  #hasTokens = false;

  /** Whether nothing but blanks and comments came after the last statement. */
  get isEmpty(): boolean {
    return !this.#hasTokens && this.#open === undefined;
  }

  /** @returns the statements that this part completes, each with its semicolon */
  async add(part: string): Promise<readonly string[]> {
    const statements: string[] = [];
    let start = 0;
    for (let at = this.#skipOpen(part, 0); at < part.length; at = this.#skipOpen(part, at)) {
      const token = tokenAt(part, at);
      at = token.end;
      if (!this.#isEnd(token.text)) continue;
      const text = this.#text + part.slice(start, at);
      if (await isOpenBody(text)) continue;
      statements.push(text.trim());
      this.clear();
      start = at;
    }
    this.#text += part.slice(start);
    return statements;
  }

  /** @returns the last statement, which has no semicolon; undefined if there is none */
  end(): string | undefined {
    const text = this.isEmpty ? undefined : this.#text.trim();
    this.clear();
    return text;
  }

  /** Forgets the statement that is not complete. */
  clear(): void {
    this.#text = "";
    this.#open = undefined;
    this.#depth = 0;
    this.#hasTokens = false;
  }

  /** @returns where the open token ends */
  #skipOpen(part: string, from: number): number {
    let at = from;
    while (this.#open !== undefined) {
      const { marks, end, nests } = this.#open;
      marks.lastIndex = at;
      const [found] = marks.exec(part) ?? [];
      if (found === undefined) return part.length;
      at = marks.lastIndex;
      if (found === nests) this.#levels++;
      else if (found === end && --this.#levels === 0) this.#open = undefined;
    }
    return at;
  }

  /** @returns whether the token is a semicolon that can end a statement */
  #isEnd(token: string): boolean {
    this.#open = openedBy(token);
    this.#levels = 1;
    if (token === "" || token.startsWith("--") || token === "/*") return false;
    if (token === ";") return this.#depth === 0;
    this.#hasTokens = true;
    if (token === "(") this.#depth++;
    else if (token === ")") this.#depth = Math.max(0, this.#depth - 1);
    return false;
  }
}

function tokenAt(part: string, from: number): { readonly text: string; readonly end: number } {
  nextToken.lastIndex = from;
  const [text] = nextToken.exec(part) ?? [];
  return text === undefined ? { text: "", end: part.length } : { text, end: nextToken.lastIndex };
}

function openedBy(token: string): OpenToken | undefined {
  if (!token.startsWith("$") || token.length === 1) return quoted.get(token);
  return { marks: new RegExp(token.replaceAll("$", "\\$"), "g"), end: token };
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

/** What libpg-query says of a COPY. */
interface CopyStatement {
  readonly CopyStmt?: { readonly filename?: string };
}

/** Whether a text contains a COPY whose rows would have to come from us, or go to us. */
export async function hasCopyOfStream(text: string): Promise<boolean> {
  if (!/\bcopy\b/i.test(text) || !/\bstd(in|out)\b/i.test(text)) return false;
  const { parse } = await import("libpg-query");
  // The server explains what cannot be parsed.
  const { stmts = [] } = await parse(text).catch(() => ({ stmts: [] }));
  return stmts.some(({ stmt }) => {
    const { CopyStmt: copy } = (stmt ?? {}) as CopyStatement;
    return copy !== undefined && copy.filename === undefined;
  });
}
