/** What one look at a target found. */
export type Finding = { readonly isUsable: true } | Obstacle;

/** Why a target is not usable, and may soon be. */
export interface Obstacle {
  readonly isUsable: false;
  /** In a few words, without secrets. */
  readonly reason: string;
  /** A part that nobody may be about to make (a database, a role): it is waited for only a short while. */
  readonly isMissing?: boolean;
}

/** Something that is waited for. */
export interface WaitTarget {
  /** As it may be printed. */
  readonly name: string;
  /**
   * Looks once.
   *
   * @param signal ends the look when it is aborted
   * @throws {ScriptError} when looking again is of no use: a wrong password, a wrong setting
   */
  look(signal: AbortSignal): Promise<Finding>;
}

export const usable: Finding = { isUsable: true };

/** @returns what a look finds that has to be repeated */
export function notYet(reason: string): Obstacle {
  return { isUsable: false, reason };
}
