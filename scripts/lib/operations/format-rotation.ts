import type { Rotation } from "../stack/rotate.ts";

/** @returns a line about a rotation; with `--grace 0s`, the previous login has already expired */
export function formatRotation({ login, previous, previousUntil }: Rotation, nowMs: number = Date.now()): string {
  const isExpired = Date.parse(previousUntil) <= nowMs;
  const state = isExpired ? "can no longer log in" : `expires at ${previousUntil}`;
  return `the secret now contains ${login}; ${previous} ${state}`;
}
