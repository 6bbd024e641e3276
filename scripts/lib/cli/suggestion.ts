/** A shorter word resembles too many others. */
const shortestWord = 3;

/**
 * Suggests the candidate that a misspelt word most likely stands for.
 *
 * @param candidates flags, or commands with their full names (`backup create` for the word `creat`)
 * @returns the fix of an error; without a suggestion if no candidate is close
 */
export async function didYouMean(word: string, candidates: readonly string[]): Promise<string> {
  const { distance } = await import("fastest-levenshtein");
  const typed = bare(word);
  const close = candidates
    .map((candidate) => ({ candidate, name: bare(candidate) }))
    .map(({ candidate, name }) => ({ candidate, name, edits: distance(typed, name) }))
    .filter(({ name, edits }) => typed.length >= shortestWord && edits <= mostEdits(typed, name))
    .toSorted((one, other) => one.edits - other.edits);
  return close[0] === undefined ? "See --help." : `Did you mean ${close[0].candidate}? See --help.`;
}

/** People rarely miss the first letter: `--keep` is not a misspelt `--help`. */
function mostEdits(typed: string, name: string): number {
  return typed[0] === name[0] ? Math.max(2, Math.floor(typed.length / 3)) : 1;
}

function bare(text: string): string {
  return text.replace(/^-+/, "").replace(/^.* /, "");
}
