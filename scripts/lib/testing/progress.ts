import { Output } from "../cli/output.ts";
import { Reporter } from "../cli/reporter.ts";
import { chooseLogger, type Logger } from "../event-store/logger.ts";
import type { RunContext } from "../stack/stack.ts";

/**
 * @param logger receives what is being done if it takes long; false for nothing; by default, it is written to stderr
 * @returns a context that is never cancelled
 */
export function makeRun(logger: Logger | false | undefined): RunContext {
  const output = logger === undefined ? new Output(options) : new LoggedOutput(logger);
  return { reporter: new Reporter(output), signal: new AbortController().signal };
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
  readonly #logger: Logger;

  constructor(logger: Logger | false) {
    super(options);
    this.#logger = chooseLogger(logger);
  }

  override progress(text: string): void {
    this.#logger.info(text);
  }

  override warn(text: string): void {
    this.#logger.warn(text);
  }
}
