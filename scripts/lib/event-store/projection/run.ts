import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import process from "node:process";
import {
  checkOptions,
  describeValue,
  isAnything,
  isFlag,
  isSignal,
  isText,
  isTextList,
  type OptionChecks,
} from "../check-options.ts";
import type { StoreParts } from "../opened-store.ts";
import { type ProjectionRun, type ProjectOptions, refused } from "./definition.ts";

const atLeastOne = [
  "version",
  "partitions",
  "batchSize",
  "maxAttempts",
  "retryPauseMs",
  "maxRetryPauseMs",
  "leaseMs",
] as const;

const projectOptions: OptionChecks<ProjectOptions> = {
  name: isText,
  version: isAnything,
  events: isTextList,
  relations: isAnything,
  handle: isAnything,
  refresh: isAnything,
  partitions: isAnything,
  batchSize: isAnything,
  maxAttempts: isAnything,
  retryPauseMs: isAnything,
  maxRetryPauseMs: isAnything,
  leaseMs: isAnything,
  stopWhenCaughtUp: isFlag,
  signal: isSignal,
};

const neverAborted = new AbortController().signal;

/**
 * Checks a definition and its options, and fills in the defaults.
 *
 * @param call what takes them, such as `project()`
 * @throws {RunFailed} if one is invalid
 */
export function makeRun(
  store: StoreParts,
  options: ProjectOptions,
  { call, abandoned }: { readonly call: string; readonly abandoned: AbortSignal },
): ProjectionRun {
  try {
    checkOptions(options, projectOptions, call);
  } catch (error) {
    throw refused((error as Error).message);
  }
  checkRequired(options);
  const run = {
    store,
    owner: `${hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`,
    name: options.name,
    version: options.version,
    events: options.events,
    relations: options.relations,
    handle: options.handle.bind(options),
    refresh: options.refresh?.bind(options),
    partitions: options.partitions ?? 1,
    batchSize: options.batchSize ?? 1_000,
    maxAttempts: options.maxAttempts ?? 5,
    retryPauseMs: options.retryPauseMs ?? 2_000,
    maxRetryPauseMs: options.maxRetryPauseMs ?? 5 * 60_000,
    leaseMs: options.leaseMs ?? 15_000,
    stopWhenCaughtUp: options.stopWhenCaughtUp ?? false,
    signal: options.signal ?? neverAborted,
    losses: new Map<string, number>(),
    abandoned,
  };
  for (const name of atLeastOne) {
    if (Number.isSafeInteger(run[name]) && run[name] >= 1) continue;
    throw refused(`${name} of the projection ${run.name} must be an integer of at least 1, not ${run[name]}`);
  }
  if (run.events?.length === 0) throw refused(`events of the projection ${run.name} must name at least one type`);
  return run;
}

function checkRequired({ name, handle }: Partial<ProjectOptions>): void {
  if (typeof name !== "string" || name === "" || name.length > 255) {
    throw refused(`the name of a projection must have 1 to 255 characters, not ${describeValue(name)}`);
  }
  if (typeof handle === "function") return;
  throw refused(`handle of the projection ${name} must be a function, not ${describeValue(handle)}`);
}
