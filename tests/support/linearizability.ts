// Whether the calls of several clients on one stream are linearizable: explained by some order, one call at a time.
//
// This is the search of Wing and Gong (1993): a call may come next if no remaining call ended before it started. The
// state of a stream is only its version, so there are few orders to try.

/** What an append expects, as the SQL functions take it: -2 any, -1 no stream, -4 exists, n exactly. */
export type Expectation = number;

/** A call of a client, and its answer. */
export interface HistoryCall {
  /** When it was sent and when it was answered, on one clock. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly call:
    | { readonly kind: "read"; readonly version: number }
    | { readonly kind: "stored"; readonly expected: Expectation; readonly first: number; readonly last: number }
    | { readonly kind: "refused"; readonly expected: Expectation; readonly actual: number };
}

/** @returns whether the calls can have happened one after another, each between its start and its end */
export function isLinearizable(history: readonly HistoryCall[]): boolean {
  const seen = new Set<string>();
  const search = (left: readonly HistoryCall[], version: number): boolean => {
    if (left.length === 0) return true;
    const key = `${version} ${left.map((call) => history.indexOf(call)).join()}`;
    if (seen.has(key)) return false;
    seen.add(key);
    const firstEnd = Math.min(...left.map(({ endedAt }) => endedAt));
    return left.some((call) => {
      if (call.startedAt > firstEnd) return false;
      const next = apply(call, version);
      return (
        next !== undefined &&
        search(
          left.filter((other) => other !== call),
          next,
        )
      );
    });
  };
  return search(
    history.toSorted((one, other) => one.endedAt - other.endedAt),
    0,
  );
}

/** @returns the version after the call; undefined if this answer is impossible at this version */
function apply({ call }: HistoryCall, version: number): number | undefined {
  if (call.kind === "read") return call.version === version ? version : undefined;
  const isAsExpected = meets(call.expected, version);
  if (call.kind === "refused") return !isAsExpected && call.actual === version ? version : undefined;
  return isAsExpected && call.first === version + 1 ? call.last : undefined;
}

function meets(expected: Expectation, version: number): boolean {
  if (expected === -2) return true;
  if (expected === -1) return version === 0;
  return expected === -4 ? version > 0 : version === expected;
}
