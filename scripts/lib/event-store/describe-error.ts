/** @returns anything that was thrown, as text; never throws itself, whatever the value does when it is read */
export function describeError(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return text.toWellFormed().replaceAll("\u0000", "").slice(0, 2_000);
  } catch {
    return "a value that cannot be converted to text";
  }
}
