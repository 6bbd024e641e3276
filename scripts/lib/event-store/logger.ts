import process from "node:process";

/** Facts about a report, for structured logs. */
export type LogDetails = Readonly<Record<string, string | number>>;

/** Receives what an event store reports about itself; `console` fits. */
export interface Logger {
  /** Reports that something has recovered, is retried or waits as intended. */
  info(message: string, details?: LogDetails): void;
  /** Reports something that an operator may have to look at. */
  warn(message: string, details?: LogDetails): void;
}

const stderrLogger: Logger = {
  info() {},
  warn: (message) => void process.stderr.write(`cqrs-postgres: ${message.replaceAll(/\s+/g, " ").trim()}\n`),
};

const silentLogger: Logger = { info() {}, warn() {} };

/**
 * Chooses the logger of a store, and ignores its errors.
 *
 * @param choice false for none; by default, warnings are written to stderr
 */
export function chooseLogger(choice: Logger | false | undefined): Logger {
  const logger = choice === false ? silentLogger : (choice ?? stderrLogger);
  return {
    info: (...report) => void deliver(() => logger.info(...report)),
    warn: (...report) => void deliver(() => logger.warn(...report)),
  };
}

/** Calls the logger before it returns. The promise, which also covers an async logger, never rejects. */
async function deliver(call: () => void): Promise<void> {
  try {
    await call();
  } catch {
    // A report is not worth failing for.
  }
}
