import type { AdvisoryKey } from "../postgres/advisory-lock.ts";

/** The lock for seeding a set: two runs at a time would append in another order than one. */
export function seedLock(set: string): AdvisoryKey {
  return { tag: "seed", name: set };
}
