import type { Confirmation } from "../cli/confirm.ts";
import { describeSource } from "./format-archives.ts";
import type { RestorePlan } from "./restore.ts";

/** @returns the question before an archive replaces a database */
export function describeRestore(plan: RestorePlan): Confirmation {
  const { database, eventsNow, endedAt, rows, kept, slots } = plan;
  const source = describeSource(plan.archive);
  const events = eventsNow === null ? "no event store" : `events: ${eventsNow}`;
  const fate = kept === null ? "will be dropped" : `will be kept as ${kept}`;
  return {
    plan: [
      `replaces: ${database} (${events}; ${fate})`,
      `with: ${source} of ${endedAt} (${rows} rows)`,
      ...(slots.length > 0 ? [`replication slots that stay with the replaced database: ${slots.join(", ")}`] : []),
    ].join("\n"),
    question: "Replace it?",
    refusal: "Nothing was restored",
    data: { ...plan, isRestored: false },
  };
}

/** @returns the question before kept databases are dropped */
export function describeDrop(kept: readonly string[]): Confirmation {
  return {
    plan: `drops: ${kept.join(", ")}`,
    question: kept.length === 1 ? "Drop it?" : "Drop them?",
    refusal: "Nothing was dropped",
    data: { dropped: [], kept },
  };
}
