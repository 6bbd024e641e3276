import { StringDecoder } from "node:string_decoder";
import { stripVTControlCharacters } from "node:util";

/** How much of a line without an end is kept. */
const maxPending = 1024 * 1024;

/** Passwords in statements, connection strings and URLs: PostgreSQL logs DDL and failed statements as they were sent. */
const passwords: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/(\bpassword\s*=?\s*)(?:(?:[enu]&?)?'(?:[^'\\]|''|\\.)*'|\$(\w*)\$[\s\S]*?\$\2\$)/gi, "$1'****'"],
  [/(\bpassword\s*=\s*)[^\s'"]+/gi, "$1****"],
  [/(\b[a-z][a-z\d+.-]*:\/\/[^\s:/@]*:)[^\s/@]+@/gi, "$1****@"],
];

/** Passes a text on in whole lines, without the passwords and control sequences in it. */
export class MaskedText {
  readonly #write: (text: string) => Promise<boolean>;
  readonly #decoder = new StringDecoder("utf8");
  #pending = "";
  #source = "";

  constructor(write: (text: string) => Promise<boolean>) {
    this.#write = write;
  }

  /** Completes the last line if another file follows. */
  async continue(source: string): Promise<void> {
    if (this.#source !== source) await this.end();
    this.#source = source;
  }

  /** @returns false once nobody reads any more */
  async add(chunk: Buffer): Promise<boolean> {
    const text = this.#pending + this.#decoder.write(chunk);
    const end = text.length > maxPending ? text.length : text.lastIndexOf("\n") + 1;
    this.#pending = text.slice(end);
    return end === 0 || this.#write(clean(text.slice(0, end)));
  }

  /** Completes the last line. */
  async end(): Promise<void> {
    const text = this.#pending + this.#decoder.end();
    this.#pending = "";
    if (text !== "") await this.#write(`${clean(text)}\n`);
  }
}

/** A log quotes what clients have sent, such as the name in a login: it must not control the terminal. */
function clean(text: string): string {
  return maskPasswords(stripVTControlCharacters(text).replaceAll(/(?![\t\n])\p{Cc}/gu, ""));
}

/** @returns the text without the passwords in it */
export function maskPasswords(text: string): string {
  return passwords.reduce((masked, [pattern, replacement]) => masked.replaceAll(pattern, replacement), text);
}
