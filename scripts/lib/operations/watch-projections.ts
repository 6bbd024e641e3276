import { hostname } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Reporter } from "../cli/reporter.ts";
import type { Config } from "../config.ts";
import type { ProjectionDefinition } from "../event-store/projection/definition.ts";
import { type ProjectionLag, readProjectionLag } from "../event-store/projection/progress.ts";
import type { EventStore } from "../event-store/store.ts";
import { type ChosenProjections, withProjections } from "../stack/projections.ts";

const shortestDelayMs = 1_000;
/** The delay as a multiple of the query's duration, so that counting events does not slow down handling them. */
const delayFactor = 20;

/** Does work with projections of a module, and reports their lag meanwhile. */
export function withWatchedProjections<Result>(
  config: Config,
  chosen: ChosenProjections,
  reporter: Reporter,
  work: (store: EventStore, definitions: readonly ProjectionDefinition[]) => Promise<Result>,
): Promise<Result> {
  return withProjections(config, chosen, async (store, definitions) => {
    await using _watch = watchProjections(store, definitions, reporter);
    return await work(store, definitions);
  });
}

/** Reports the lag of projections, and other processes that they wait for, until it is disposed of. */
function watchProjections(
  store: EventStore,
  definitions: readonly ProjectionDefinition[],
  reporter: Reporter,
): AsyncDisposable {
  const ended = new AbortController();
  const watching = watch(store, definitions, reporter, ended.signal);
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await watching;
    },
  };
}

async function watch(
  store: EventStore,
  definitions: readonly ProjectionDefinition[],
  reporter: Reporter,
  signal: AbortSignal,
): Promise<void> {
  using line = reporter.liveLine();
  const reported = new Set<string>();
  let delayMs = shortestDelayMs;
  while (await sleep(delayMs, true, { signal }).catch(() => false)) {
    const startedAt = performance.now();
    // If the server is unavailable, the projections themselves wait for it.
    const lags = await readProjectionLag(store).catch(() => []);
    delayMs = Math.max(shortestDelayMs, (performance.now() - startedAt) * delayFactor);
    const ours = lags.filter((lag) => definitions.some(({ name, version }) => isOf(lag, name, version)));
    for (const { name, version, owner } of ours.filter(isOwnedByAnother)) {
      const text = `${name} version ${version}: waiting for ${owner}, which is running it`;
      if (!reported.has(text)) reporter.info(text);
      reported.add(text);
    }
    if (ours.length > 0) line.show?.(() => ours.map(describeLag).join("; "));
  }
}

function isOf(lag: ProjectionLag, name: string, version: number): boolean {
  return lag.name === name && lag.version === version;
}

/** An owner's name begins with host and pid. */
function isOwnedByAnother({ owner }: ProjectionLag): boolean {
  return owner !== null && !owner.startsWith(`${hostname()}:${process.pid}:`);
}

function describeLag({ name, version, lagEvents }: ProjectionLag): string {
  return `${name} version ${version}: ${lagEvents === 0 ? "caught up" : `${lagEvents} events behind`}`;
}
