import type { Reporter } from "../cli/reporter.ts";
import type { Config } from "../config.ts";
import { type ProjectionLag, readProjectionLag } from "../event-store/projection/progress.ts";
import { isStandby } from "../postgres/primary.ts";
import { withStackStore } from "../stack/projections.ts";

/** Reads the lag of each projection of a stack. Warns if the server knows only what it has replayed. */
export function listProjections(config: Config, reporter: Reporter): Promise<readonly ProjectionLag[]> {
  return withStackStore(config, async (store) => {
    if (await isStandby(store.sql)) {
      reporter.warn("the server is a standby: this is what it has replayed, and the primary may be further ahead");
    }
    return readProjectionLag(store);
  });
}
