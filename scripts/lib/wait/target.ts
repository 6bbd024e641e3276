/** What one probe of a target found. */
export type Finding = { readonly isUsable: true } | Obstacle;

/** Why a target is not usable yet. */
export interface Obstacle {
  readonly isUsable: false;
  /** In a few words, without secrets. */
  readonly reason: string;
  /** Whether a database or role is missing. Perhaps nothing is going to create it, so the wait for it is short. */
  readonly isMissing?: boolean;
  /** Whether the server cannot be reached. */
  readonly isUnreachable?: boolean;
  /** An instruction that may end the wait. */
  readonly fix?: string | undefined;
}

/** Something to wait for. */
export interface WaitTarget {
  /** Safe to print. */
  readonly name: string;
  /**
   * Checks once whether the target is usable.
   *
   * @param signal cancels the probe
   * @throws {ScriptError} if waiting cannot help: a wrong password, a wrong setting
   */
  probe(signal: AbortSignal): Promise<Finding>;
}

export const usable: Finding = { isUsable: true };

/** @returns the finding of a target that is not usable yet */
export function notYet(reason: string, fix?: string): Obstacle {
  return { isUsable: false, reason, fix };
}
