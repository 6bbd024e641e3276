/** What one look at a target found. */
export type Finding = { readonly isUsable: true } | Obstacle;

/** Why a target is not usable yet. */
export interface Obstacle {
  readonly isUsable: false;
  /** In a few words, without secrets. */
  readonly reason: string;
  /** A database or role is missing. Nothing may be about to create it, so the wait for it is short. */
  readonly isMissing?: boolean;
}

/** Something that is waited for. */
export interface WaitTarget {
  /** Safe to print. */
  readonly name: string;
  /**
   * Looks once.
   *
   * @param signal ends the look when it is aborted
   * @throws {ScriptError} if waiting cannot help: a wrong password, a wrong setting
   */
  look(signal: AbortSignal): Promise<Finding>;
}

export const usable: Finding = { isUsable: true };

/** @returns the finding of a target that is not usable yet */
export function notYet(reason: string): Obstacle {
  return { isUsable: false, reason };
}
