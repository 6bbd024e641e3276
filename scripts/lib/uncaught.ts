type Predicate = (error: unknown) => boolean;

const expected = new Set<Predicate>();

/** Registers exceptions that no caller can catch and that are reported in another way: they must not end a script. */
export function expectUncaught(matches: Predicate): void {
  expected.add(matches);
}

/** Whether an uncaught exception was registered with {@link expectUncaught}. */
export function isExpected(error: unknown): boolean {
  return [...expected].some((matches) => matches(error));
}
