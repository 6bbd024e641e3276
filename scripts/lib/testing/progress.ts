import { Output } from "../cli/output.ts";
import { Reporter } from "../cli/reporter.ts";
import { chooseLogger, type Logger } from "../event-store/logger.ts";
import type { RunContext } from "../stack/stack.ts";

/**
 * @param logger receives what is being done if it takes long; false for nothing; by default, it is written to stderr
 * @returns a context that is never cancelled
 */
export function makeRun(logger: Logger | false | undefined): RunContext {
  return { reporter: new Reporter(new LoggedOutput(logger)), signal: new AbortController().signal };
}

const options = {
  isJson: false,
  isQuiet: false,
  isVerbose: false,
  isColored: false,
  isResultColored: false,
  isInteractive: false,
};

class LoggedOutput extends Output {
  /** Undefined: stderr. */
  readonly #logger: Logger | undefined;

  constructor(logger: Logger | false | undefined) {
    super(options);
    this.#logger = logger === undefined ? undefined : chooseLogger(logger);
  }

  override progress(text: string): void {
    if (this.#logger === undefined) super.progress(`cqrs-postgres: ${text}`);
    else this.#logger.info(text);
  }

  override warn(text: string): void {
    if (this.#logger === undefined) super.warn(`cqrs-postgres: ${text}`);
    else this.#logger.warn(text);
  }
}
