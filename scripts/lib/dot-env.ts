/**
 * A variable per match: its name, and its value, quoted or not. A quoted value may have several lines. As for
 * docker compose, a comment after an unquoted value needs a blank before it.
 */
const assignment =
  /^[^\S\n]*(?:export[^\S\n]+)?([\w.-]+)[^\S\n]*=[^\S\n]*(?:('(?:\\'|[^'])*'|"(?:\\"|[^"])*"|`(?:\\`|[^`])*`)[^\S\n]*(?:#.*)?|([^\n]*?)[^\S\n]*(?:(?<=[^\S\n])#.*)?)$/gm;

const blankOrComment = /^\s*(?:#.*)?$/;

/**
 * Parses a `.env` file. A `$` stays a `$`. The runtimes have parsers of their own, which disagree about a quote in a
 * quoted value, and about a `#`.
 */
export function parseDotEnv(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [, name = "", quoted, plain = ""] of withoutReturns(text).matchAll(assignment)) {
    variables[name] = unquote(quoted ?? plain.trim());
  }
  return variables;
}

/** @returns the numbers of the lines of a `.env` file that are neither an assignment nor a comment */
export function findStrayLines(text: string): number[] {
  const rest = withoutReturns(text).replaceAll(assignment, (match) => match.replaceAll(/[^\n]/g, ""));
  return rest.split("\n").flatMap((line, index) => (blankOrComment.test(line) ? [] : [index + 1]));
}

/** Editors of Windows write carriage returns, and some a byte order mark. */
function withoutReturns(text: string): string {
  return text.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n");
}

/** Only double quotes allow `\n` for a line end. */
function unquote(value: string): string {
  const inner = /^(['"`])(.*)\1$/s.exec(value)?.[2] ?? value;
  return value.startsWith('"') ? inner.replaceAll("\\n", "\n") : inner;
}
