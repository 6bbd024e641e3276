import type { ProjectionOutcome } from "../event-store/projection/definition.ts";
import type { ProjectionEnd } from "../stack/projections.ts";

const outcomes: Readonly<Record<ProjectionOutcome, string>> = {
  stopped: "stopped",
  "caught-up": "caught up",
  retired: "not running; a later version has replaced it",
};

/** @returns a line about a run that has ended */
export function formatRun({ name, version, outcome }: ProjectionEnd): string {
  return `${name} version ${version}: ${outcomes[outcome]}`;
}

/** @returns a line about a rebuild that has ended */
export function formatRebuild(rebuilt: ProjectionEnd & { readonly replacedVersion: number | null }): string {
  const { name, version, outcome, replacedVersion } = rebuilt;
  if (outcome === "stopped") return `${name}: version ${version} is not serving yet: stopped`;
  if (outcome === "retired") return `${name}: version ${version} is not serving; a later version has replaced it`;
  const replaced = replacedVersion === null ? "" : `, replacing version ${replacedVersion}`;
  return `${name}: version ${version} is serving${replaced}`;
}
