/** One of the variants that a benchmark compares. */
export interface Variant<Measure> {
  readonly name: string;
  /** Does the work once and returns its cost. */
  measure(): Promise<Measure>;
}

/** The cost of a variant in each round that counts. */
export interface Measured<Measure> {
  readonly name: string;
  readonly measures: readonly Measure[];
}

/** The default number of rounds. */
export const defaultRounds = 5;

/**
 * Measures the variants alternately, round by round, so that a slow moment of the machine affects all of them.
 *
 * A first round does not count: it fills caches, prepares statements and creates what later rounds find.
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

/** @returns the bounds of the 95 % interval of the median, by order statistics: as wide as the list for few values */
export function medianInterval(values: readonly number[]): readonly [number, number] {
  const sorted = values.toSorted((one, other) => one - other);
  const below = Math.max(0, Math.floor(sorted.length / 2 - 0.98 * Math.sqrt(sorted.length)));
  return [sorted[below] ?? Number.NaN, sorted[sorted.length - 1 - below] ?? Number.NaN];
}

/** @returns the middle value, or the mean of the two in the middle; NaN for an empty list */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length % 2 === 1) return sorted[middle] ?? Number.NaN;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
