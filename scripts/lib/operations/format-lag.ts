import { formatSeconds, formatTable } from "../cli/format.ts";
import type { ProjectionLag } from "../event-store/projection/progress.ts";

/** @returns a table about one version of a projection; rows without a value are left out */
export function formatLag(lag: ProjectionLag): string {
  const { holder } = lag;
  const holderName = holder === null ? null : (holder.gid ?? `pid ${holder.pid} ${holder.applicationName ?? ""}`);
  const rows: readonly (readonly [string, string | number | null])[] = [
    ["projection", `${lag.name} version ${lag.version}, ${lag.status}, partitions: ${lag.partitions}`],
    ["lag", lag.lagEvents === 0 ? "none" : `${lag.lagEvents} events, ${formatSeconds(lag.lagSeconds)}`],
    ["owner", lag.owner ?? "none"],
    ["heartbeat", lag.owner === null ? null : (lag.heartbeatAt?.toISOString() ?? null)],
    ["dead letters", lag.deadLetters === 0 ? null : lag.deadLetters],
    ["held back by", holderName],
    ["log", lag.logProblem],
  ];
  return formatTable(rows.filter(([, value]) => value !== null));
}
