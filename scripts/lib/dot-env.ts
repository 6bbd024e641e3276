/** A variable per match: its name, and its value with the quotes. A quoted value may have several lines. */
const assignment =
  /^[^\S\n]*(?:export[^\S\n]+)?([\w.-]+)[^\S\n]*=[^\S\n]*('(?:\\'|[^'])*'|"(?:\\"|[^"])*"|`(?:\\`|[^`])*`|[^#\n]*)[^\S\n]*(?:#.*)?$/gm;

/**
 * Parses a `.env` file. A `$` stays a `$`. The runtimes have parsers of their own, which disagree about a quote in a
 * quoted value.
 */
export function parseDotEnv(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [, name = "", value = ""] of text.replaceAll("\r\n", "\n").matchAll(assignment)) {
    variables[name] = unquote(value.trim());
  }
  return variables;
}

/** Only double quotes allow `\n` for a line end. */
function unquote(value: string): string {
  const inner = /^(['"`])(.*)\1$/s.exec(value)?.[2] ?? value;
  return value.startsWith('"') ? inner.replaceAll("\\n", "\n") : inner;
}
