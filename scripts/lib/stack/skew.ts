import manifest from "../../../package.json" with { type: "json" };
import type { Reporter } from "../cli/reporter.ts";
import type { StackState } from "./state.ts";

/** Another version of this package has set up the stack. */
export interface Skew {
  /** Whether this version is the older one, which may not know what the other has written. */
  readonly isOlder: boolean;
  readonly text: string;
}

/** The version of this package. */
export const ownVersion: string = manifest.version;

/** @returns undefined if this version has set up the stack, or if it is unknown which one has */
export function describeSkew(state: StackState | undefined, own: string = ownVersion): Skew | undefined {
  const other = state?.version;
  const order = other === undefined ? 0 : compareVersions(own, other);
  if (order === 0) return undefined;
  if (order > 0) return { isOlder: false, text: `cqrs-postgres ${other} has set up this stack; this is ${own}` };
  const text = `cqrs-postgres ${other} has set up this stack, and this is the older ${own}: install ${other}`;
  return { isOlder: true, text };
}

/** Warns if a newer version has set up the stack; @param isNoted whether an older one is worth a note */
export function reportSkew(state: StackState | undefined, reporter: Reporter, isNoted = false): void {
  const skew = describeSkew(state);
  if (skew?.isOlder) reporter.warn(skew.text);
  else if (skew !== undefined && isNoted) reporter.info(skew.text);
}

/** @returns this version, or the one that the stack remembers if that is newer */
export function newestVersion(state: StackState | undefined): string {
  return describeSkew(state)?.isOlder === true ? (state?.version ?? ownVersion) : ownVersion;
}

/** Compares major, minor and patch; pre-releases of a version count as the version. */
function compareVersions(one: string, other: string): number {
  const [left, right] = [one, other].map((text) => (text.match(/\d+/g) ?? []).slice(0, 3).map(Number));
  const differences = [0, 1, 2].map((part) => (left?.[part] ?? 0) - (right?.[part] ?? 0));
  return differences.find((difference) => difference !== 0) ?? 0;
}
