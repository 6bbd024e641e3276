import { formatSeconds } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { type ProjectionLag, readProjectionLag } from "../event-store/projection/progress.ts";
import type { Sql } from "../postgres/driver.ts";

/** From which delay on a projection has a problem. */
export interface DelayLimits {
  /** Age of the oldest event that a serving projection has not handled, while a run holds its lease. */
  readonly maxLagSeconds: number;
  /** The same while no run holds it. */
  readonly maxStalledSeconds: number;
}

/** What is wrong with a version of a projection. */
export interface ProjectionProblem {
  readonly kind: "dead-letters" | "rewound" | "stalled" | "late" | "bypassed";
  readonly text: string;
  readonly fix: string;
}

/** How far the projections are, and what is wrong with them. */
export interface ProjectionHealth {
  readonly lags: readonly ProjectionLag[];
  readonly problems: readonly ProjectionProblem[];
}

/** Reads how far each version of each projection is behind the log, and judges it. */
export async function readProjectionHealth(sql: Sql, limits: DelayLimits): Promise<ProjectionHealth> {
  const lags = await readProjectionLag({ sql });
  return { lags, problems: lags.flatMap((lag) => findProblems(lag, limits)) };
}

function findProblems(lag: ProjectionLag, limits: DelayLimits): ProjectionProblem[] {
  const name = `version ${lag.version} of ${lag.name}`;
  const problems: ProjectionProblem[] = [];
  if (lag.deadLetters > 0) {
    const fix = `Fix what the errors in read_model.dead_letter report, then run ${runLine("projections replay")}.`;
    problems.push({ kind: "dead-letters", text: `${name} has ${lag.deadLetters} dead letters`, fix });
  }
  if (lag.lagEvents < 0) {
    const rebuild = `raise its version and run ${runLine("projections rebuild")}`;
    const fix = `If nobody has begun an epoch, run select event_store.begin_epoch('<why>'). Then ${rebuild}.`;
    return [...problems, { kind: "rewound", text: `${name} is ahead of the log, which was rewound`, fix }];
  }
  return [...problems, ...findDelay(lag, name, limits)];
}

/** A version that is being built reads events of any age. */
function findDelay(lag: ProjectionLag, name: string, limits: DelayLimits): ProjectionProblem[] {
  const isInline = lag.owner === "inline";
  const isRunning = lag.owner !== null && (isInline || (lag.expiresAt ?? new Date(0)) > new Date());
  const limit = isRunning ? limits.maxLagSeconds : limits.maxStalledSeconds;
  if (lag.lagEvents === 0 || lag.lagSeconds < limit || (isRunning && lag.status === "building")) return [];
  const delay = `${lag.lagEvents} events behind, the oldest for ${formatSeconds(lag.lagSeconds)}`;
  if (isInline) {
    const fix = "List it in inlineProjections of every store, or run it as an ordinary projection.";
    return [{ kind: "bypassed", text: `${name} is bypassed by appends of stores that do not list it: ${delay}`, fix }];
  }
  if (isRunning) return [{ kind: "late", text: `${name} is running, and ${delay}`, fix: "See what its run reports." }];
  const fix = `Run ${runLine("projections run")}, or remove it (${runLine(`projections remove ${lag.name}`)}).`;
  return [{ kind: "stalled", text: `${name} is stalled, because no process runs it: ${delay}`, fix }];
}
