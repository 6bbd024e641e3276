import process from "node:process";
import { stripVTControlCharacters, styleText } from "node:util";
import type { ScriptError } from "./script-error.ts";

type Style = Parameters<typeof styleText>[0];

/** How to print, according to the shared flags and the terminal. */
export interface OutputOptions {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isVerbose: boolean;
  /** Whether stderr is coloured. */
  readonly isColored: boolean;
  /** Whether stdout is coloured. */
  readonly isResultColored: boolean;
  /** Whether stderr is a terminal on which a line can be rewritten. */
  readonly isInteractive: boolean;
}

/** The only writer to stdout and stderr: results on stdout, everything else on stderr. */
export class Output {
  readonly options: OutputOptions;
  #hasLiveLine = false;

  constructor(options: OutputOptions) {
    this.options = options;
  }

  /** Writes a line of the result, for people. */
  result(text: string): void {
    process.stdout.write(`${this.options.isResultColored ? text : stripVTControlCharacters(text)}\n`);
  }

  /**
   * Writes a part of a long result, in the pace of its reader.
   *
   * @returns false once the reader has closed the pipe
   */
  write(text: string): Promise<boolean> {
    const printed = this.options.isResultColored ? text : stripVTControlCharacters(text);
    return new Promise((resolve) => process.stdout.write(printed, (error) => resolve(!error)));
  }

  /** Writes the result for programs: one JSON object on one line. */
  json(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** Writes a line of progress. */
  progress(text: string): void {
    if (!this.options.isQuiet) this.#line(text);
  }

  /** Writes a line of progress with `--verbose` only. */
  verbose(text: string): void {
    if (this.options.isVerbose) this.#line(this.style("gray", text));
  }

  /** Writes a warning. */
  warn(text: string): void {
    this.#line(`${this.style("yellow", "warning:")} ${text}`);
  }

  /** Writes what failed, why, and how to fix it. */
  error(error: ScriptError): void {
    this.#line(`${this.style("red", "error:")} ${error.message}`);
    if (error.why !== undefined) this.#line(`  why: ${indent(error.why)}`);
    if (error.fix !== undefined) this.#line(`  fix: ${indent(error.fix)}`);
  }

  /** Writes to stderr as is, including control sequences. */
  raw(text: string): void {
    process.stderr.write(text);
  }

  /** Replaces the live line, cut to the terminal's width; an empty text removes it. For terminals only. */
  rewrite(text: string): void {
    // Inside `docker run -t`, a terminal may claim to have 0 columns.
    const columns = process.stderr.columns || 80;
    this.#hasLiveLine = text !== "";
    this.raw(`\r\u001b[2K${text.slice(0, columns - 1)}`);
  }

  /** @returns `text` in the given style; streams without colours strip it when they write */
  style(style: Style, text: string): string {
    return styleText(style, text, { validateStream: false });
  }

  #line(text: string): void {
    if (this.#hasLiveLine) this.rewrite("");
    this.raw(`${this.options.isColored ? text : stripVTControlCharacters(text)}\n`);
  }
}

function indent(text: string): string {
  return text.replaceAll("\n", "\n       ");
}
