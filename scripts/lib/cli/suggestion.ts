/** A shorter word is close to too many others. */
const minWordLength = 3;

/**
 * Suggests the candidate that the user most likely meant.
 *
 * @param candidates flags, or commands with their full names (`backup create` for the word `creat`)
 * @returns the fix of an error; undefined if no candidate is close
 */
export async function didYouMean(word: string, candidates: readonly string[]): Promise<string | undefined> {
  const { distance } = await import("fastest-levenshtein");
  const typed = lastWord(word);
  const close = candidates
    .map((candidate) => ({ candidate, name: lastWord(candidate) }))
    .map(({ candidate, name }) => ({ candidate, name, edits: distance(typed, name) }))
    .filter(({ name, edits }) => typed.length >= minWordLength && edits <= maxEdits(typed, name))
    .toSorted((one, other) => one.edits - other.edits);
  return close[0] && `Did you mean ${close[0].candidate}?`;
}

/** People rarely mistype the first letter: `--keep` is not a misspelt `--help`. */
function maxEdits(typed: string, name: string): number {
  return typed[0] === name[0] ? Math.max(2, Math.floor(typed.length / 3)) : 1;
}

function lastWord(text: string): string {
  return text.replace(/^-+/, "").replace(/^.* /, "");
}
