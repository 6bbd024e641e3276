import { exitCodes } from "../cli/script-error.ts";
import type { ProjectionOutcome } from "../event-store/projection/definition.ts";
import type { ProjectionEnd, Rebuild } from "../stack/projections.ts";

const outcomes: Readonly<Record<ProjectionOutcome, string>> = {
  stopped: "stopped",
  "caught-up": "caught up",
  retired: "projects nothing; a later version has replaced it",
};

/** @returns a line about a run that has ended */
export function formatRun(end: ProjectionEnd): string {
  return `${end.name} version ${end.version}: ${outcomes[end.outcome]}${formatLetters(end)}`;
}

function formatLetters({ deadLetters }: ProjectionEnd): string {
  return deadLetters === null || deadLetters === 0 ? "" : `; dead letters: ${deadLetters}`;
}

/** @returns the exit code of runs that were not stopped */
export function endOfRuns(ends: readonly ProjectionEnd[]): number {
  if (ends.some(({ outcome }) => outcome === "retired")) return exitCodes.retired;
  return ends.some(({ deadLetters }) => (deadLetters ?? 0) > 0) ? exitCodes.deadLetters : exitCodes.ok;
}

/** @returns a line about a rebuild that has ended */
export function formatRebuild(rebuilt: Rebuild): string {
  const { name, version, outcome, replacedVersion } = rebuilt;
  if (outcome === "stopped" && replacedVersion === null)
    return `${name}: version ${version} has not caught up: stopped`;
  if (outcome === "stopped") return `${name}: version ${version} is not serving yet: stopped`;
  if (outcome === "retired") return `${name}: version ${version} is not serving; a later version has replaced it`;
  const replaced = replacedVersion === null ? "" : `, replacing version ${replacedVersion}`;
  return `${name}: version ${version} is serving${replaced}${formatLetters(rebuilt)}`;
}
