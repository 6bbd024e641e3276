const unitMs = { ms: 1, s: 1000, m: 60_000 } as const;

/** @returns milliseconds of a duration such as `500ms`, `60s` or `5m`; undefined for anything else */
export function parseDuration(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m)$/.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs];
}
