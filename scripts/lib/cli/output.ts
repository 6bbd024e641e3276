import process from "node:process";
import { stripVTControlCharacters, styleText } from "node:util";
import type { ScriptError } from "./script-error.ts";

type Style = Parameters<typeof styleText>[0];

/** How a run shall look; from the shared flags and the terminal. */
export interface OutputOptions {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isVerbose: boolean;
  readonly isColored: boolean;
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
    process.stdout.write(`${this.options.isColored ? text : stripVTControlCharacters(text)}\n`);
  }

  /** Writes the result for programs: one JSON object on one line. */
  json(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** Writes a line of progress. */
  progress(text: string): void {
    if (!this.options.isQuiet) this.raw(`${text}\n`);
  }

  /** Writes a line of progress that only `--verbose` shows. */
  verbose(text: string): void {
    if (this.options.isVerbose) this.raw(`${this.style("gray", text)}\n`);
  }

  /** Writes something that needs attention but stops nothing. */
  warn(text: string): void {
    this.raw(`${this.style("yellow", "warning:")} ${text}\n`);
  }

  /** Writes what failed, why, and how to mend it. */
  error(error: ScriptError): void {
    this.raw(`${this.style("red", "error:")} ${error.message}\n`);
    if (error.why !== undefined) this.raw(`  why: ${indent(error.why)}\n`);
    if (error.fix !== undefined) this.raw(`  fix: ${indent(error.fix)}\n`);
  }

  /** Writes to stderr as it stands; only where nobody watches, colours and cursor movements are removed. */
  raw(text: string): void {
    const { isColored, isInteractive } = this.options;
    process.stderr.write(isColored || isInteractive ? text : stripVTControlCharacters(text));
  }

  /** @returns `text` in the given style, or as it is when the output is not coloured */
  style(style: Style, text: string): string {
    return this.options.isColored ? styleText(style, text, { validateStream: false }) : text;
  }
}

function indent(text: string): string {
  return text.replaceAll("\n", "\n       ");
}
