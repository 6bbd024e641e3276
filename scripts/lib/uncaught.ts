/** Recognises exceptions that no caller could catch. */
type Judge = (error: unknown) => boolean;

const judges = new Set<Judge>();

/** Registers exceptions that are reported in another way, so that they do not end a script. */
export function expectUncaught(judge: Judge): void {
  judges.add(judge);
}

/** Whether an uncaught exception is one of those that {@link expectUncaught} has registered. */
export function isExpected(error: unknown): boolean {
  return [...judges].some((judge) => judge(error));
}
