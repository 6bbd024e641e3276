const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** What {@link parseDuration} accepts, for error messages. */
export const durationForm = "a duration such as 500ms, 60s, 5m, 2h or 7d";

/** @returns milliseconds of a duration such as `500ms`, `60s`, `5m`, `2h` or `7d`; undefined for anything else */
export function parseDuration(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs];
}
