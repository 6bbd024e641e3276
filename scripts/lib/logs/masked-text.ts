import { StringDecoder } from "node:string_decoder";
import { stripVTControlCharacters } from "node:util";

/** How much of a line without an end is kept. */
const maxPending = 1024 * 1024;
/** How much of an entry is kept to recognise a password in its next line. */
export const maxEntry = 64 * 1024;

/** Before each line of a container: its name. */
const containerName = String.raw`(?:[\w.-]+ +\| )?`;
/** Blanks, also between the lines of a statement: PostgreSQL begins those after the first with a tab. */
const blanks = String.raw`(?:[^\S\n]|\n${containerName}\t)*`;
/** Text in quotes, up to where its entry ends: a quote that is never closed must not hide the entries after it. */
const inEntry = String.raw`(?!\n(?!${containerName}\t))`;
const value = [
  String.raw`(?:[enu]&?)?'(?:''|\\[^\n]?|${inEntry}[^'\\])*(?:'|(?=\n|$))`,
  String.raw`\$(?<tag>\w*)\$(?:${inEntry}[\s\S])*?(?:\$\k<tag>\$|(?=\n(?!${containerName}\t)|$))`,
].join("|");
const lineStarts = new RegExp(`\\n${containerName}\\t?`, "g");
const isContinued = new RegExp(`^${containerName}\\t`);
/** Also `PGPASSWORD` and `POSTGRES_PASSWORD`. */
const word = String.raw`(?<![a-z\d])(?:pg)?password"?`;

const inQuotes = new RegExp(`(${word}${blanks}[=:]?${blanks})(${value})`, "gi");

/** Passwords in JSON, variables, connection strings and URLs. */
const others: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [new RegExp(String.raw`(${word}[^\S\n]*[=:]?[^\S\n]*)"(?:\\[^\n]?|[^"\\\n])*"?`, "gi"), '$1"****"'],
  [new RegExp(String.raw`(${word}[^\S\n]*[=:][^\S\n]*)[^\s'"]+`, "gi"), "$1****"],
  [/(\b[a-z][a-z\d+.-]*:\/\/[^\s:/@]*:)[^\s/@]+@/gi, "$1****@"],
];

/** Passes a text on in whole lines, without the passwords and control sequences in it. */
export class MaskedText {
  readonly #write: (text: string) => Promise<boolean>;
  readonly #decoder = new StringDecoder("utf8");
  #pending = "";
  #source = "";
  /** What was shown of the last entry. */
  #entry = "";

  constructor(write: (text: string) => Promise<boolean>) {
    this.#write = write;
  }

  /** Completes the last line if another file follows. */
  async continue(source: string): Promise<void> {
    if (this.#source !== source) {
      await this.end();
      this.#entry = "";
    }
    this.#source = source;
  }

  /** Notes the text before the first that is shown. */
  precede(text: string): void {
    this.#entry = lastEntry(text.slice(text.indexOf("\n") + 1));
  }

  /** @returns false once the reader has closed the pipe */
  async add(chunk: Buffer): Promise<boolean> {
    const text = this.#pending + this.#decoder.write(chunk);
    const end = text.length > maxPending ? text.length : text.lastIndexOf("\n") + 1;
    this.#pending = text.slice(end);
    return end === 0 || this.#write(this.#mask(text.slice(0, end)));
  }

  /** Completes the last line. */
  async end(): Promise<void> {
    const text = this.#pending + this.#decoder.end();
    this.#pending = "";
    if (text !== "") await this.#write(this.#mask(`${text}\n`));
  }

  /** A statement is logged in several lines, and the word and the password can be in two that arrive separately. */
  #mask(lines: string): string {
    const all = this.#entry + lines;
    const shown = countLines(this.#entry);
    this.#entry = lastEntry(all);
    return clean(all).split("\n").slice(shown).join("\n");
  }
}

/** A log quotes what clients have sent, such as the name in a login: it must not control the terminal. */
function clean(text: string): string {
  return maskPasswords(stripVTControlCharacters(text).replaceAll(/(?![\t\n])\p{Cc}/gu, ""));
}

/** @returns the text without the passwords in it, in as many lines */
export function maskPasswords(text: string): string {
  const masked = text.replaceAll(inQuotes, (_, before: string, quoted: string) => {
    return `${before}'****'${(quoted.match(lineStarts) ?? []).join("")}`;
  });
  return others.reduce((all, [pattern, replacement]) => all.replaceAll(pattern, replacement), masked);
}

/** @returns the last entry of a text: a line that does not begin with a tab, and those after it that do */
function lastEntry(text: string): string {
  let start = text.length;
  do start = text.lastIndexOf("\n", start - 2) + 1;
  while (start > 0 && isContinued.test(text.slice(start, start + 200)));
  return text.slice(Math.max(start, text.length - maxEntry));
}

function countLines(text: string): number {
  return text.split("\n").length - 1;
}
