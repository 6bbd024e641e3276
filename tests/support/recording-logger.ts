import type { LogDetails, Logger } from "../../scripts/lib/event-store/logger.ts";

/** What a logger heard. */
export type LogReport = readonly [level: "info" | "warn", message: string, details: LogDetails | undefined];

/** @returns a logger, and what it has heard so far */
export function recordingLogger(): { readonly logger: Logger; readonly reports: LogReport[] } {
  const reports: LogReport[] = [];
  const logger: Logger = {
    info: (message, details) => void reports.push(["info", message, details]),
    warn: (message, details) => void reports.push(["warn", message, details]),
  };
  return { logger, reports };
}
