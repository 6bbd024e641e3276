import process from "node:process";
import { stripVTControlCharacters, styleText } from "node:util";
import type { ScriptError } from "./script-error.ts";

type Style = Parameters<typeof styleText>[0];

/** How a run shall look; from the shared flags and the terminal. */
export interface OutputOptions {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isVerbose: boolean;
  /** Whether stderr gets colours. */
  readonly isColored: boolean;
  /** Whether stdout gets colours. */
  readonly isResultColored: boolean;
  /** Whether stderr is a terminal that a line may be rewritten on. */
  readonly isInteractive: boolean;
}

/** The only place that writes to stdout and stderr: results on stdout, everything else on stderr. */
export class Output {
  readonly options: OutputOptions;

  constructor(options: OutputOptions) {
    this.options = options;
  }

  /** Writes a line of the result, for people. */
  result(text: string): void {
    process.stdout.write(`${this.options.isResultColored ? text : stripVTControlCharacters(text)}\n`);
  }

  /** Writes the result for programs: one JSON object on one line. */
  json(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** Writes a line of progress. */
  progress(text: string): void {
    if (!this.options.isQuiet) this.#line(text);
  }

  /** Writes a line of progress that only `--verbose` shows. */
  verbose(text: string): void {
    if (this.options.isVerbose) this.#line(this.style("gray", text));
  }

  /** Writes something that needs attention but stops nothing. */
  warn(text: string): void {
    this.#line(`${this.style("yellow", "warning:")} ${text}`);
  }

  /** Writes what failed, why, and how to mend it. */
  error(error: ScriptError): void {
    this.#line(`${this.style("red", "error:")} ${error.message}`);
    if (error.why !== undefined) this.#line(`  why: ${indent(error.why)}`);
    if (error.fix !== undefined) this.#line(`  fix: ${indent(error.fix)}`);
  }

  /** Writes to stderr as it stands, cursor movements included. */
  raw(text: string): void {
    process.stderr.write(text);
  }

  /** @returns `text` in the given style; it is taken away again on a stream that is not coloured */
  style(style: Style, text: string): string {
    return styleText(style, text, { validateStream: false });
  }

  #line(text: string): void {
    this.raw(`${this.options.isColored ? text : stripVTControlCharacters(text)}\n`);
  }
}

function indent(text: string): string {
  return text.replaceAll("\n", "\n       ");
}
