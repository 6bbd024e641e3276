/** One of the things that a benchmark compares. */
export interface Variant<Measure> {
  readonly name: string;
  /** Does the work once and says what it cost. */
  measure(): Promise<Measure>;
}

/** What a variant cost in each round that counts. */
export interface Measured<Measure> {
  readonly name: string;
  readonly measures: readonly Measure[];
}

/** How often each variant is measured when nobody says. */
export const defaultRounds = 5;

/**
 * Measures variants in turn, round by round, so that a slow moment of the machine meets them all.
 *
 * One round before does not count: it fills caches, prepares statements and makes what later rounds find.
 *
 * @param rounds how often each variant is measured
 */
export async function alternate<Measure>(
  variants: readonly Variant<Measure>[],
  rounds: number,
): Promise<readonly Measured<Measure>[]> {
  const measured = variants.map(({ name }) => ({ name, measures: [] as Measure[] }));
  for (let round = 0; round <= rounds; round++) {
    for (const [index, variant] of variants.entries()) {
      const measure = await variant.measure();
      if (round > 0) measured[index]?.measures.push(measure);
    }
  }
  return measured;
}

/** @returns the middle one, or the mean of the two in the middle; NaN of none */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length % 2 === 1) return sorted[middle] ?? Number.NaN;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
