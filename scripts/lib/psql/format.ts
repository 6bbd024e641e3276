/** A column of a result: its name, and the oid of its type. */
interface Column {
  readonly name: string;
  readonly type: number;
}

/** What the driver returns for a statement: rows of texts. */
type Result = readonly (readonly (Uint8Array | null)[])[] & {
  /** Missing or null if the statement returns no rows. */
  readonly columns?: readonly Column[] | null;
  /** Missing or null if there was no statement: only blanks, comments or a semicolon. */
  readonly command?: string | null;
  readonly count: number | null;
};

/** int8, int2, int4, oid, float4, float8, money and numeric. */
const numericTypes = [20, 21, 23, 26, 700, 701, 790, 1700];
const shownBefore = 60;
const shownAround = 120;

/** @returns the results of one or several statements, each line with its end */
export function formatResult(given: unknown): string {
  const results = given as Result | readonly Result[];
  const all = "command" in results ? [results as Result] : (results as readonly Result[]);
  return all.map((result) => (result.columns ? `${tableOf(result, result.columns)}\n` : tagOf(result))).join("");
}

function tagOf({ command, count }: Result): string {
  if (!command) return "";
  return `${count === null ? command : `${command} ${count}`}\n`;
}

function tableOf(rows: Result, columns: readonly Column[]): string {
  const cells = rows.map((row) => row.map((value) => (value === null ? "NULL" : printable(textOf(value)))));
  const names = columns.map(({ name }) => printable(name));
  const widths = names.map((name, index) =>
    cells.reduce((width, row) => Math.max(width, lengthOf(row[index])), lengthOf(name)),
  );
  const lineOf = (row: readonly string[]) =>
    row
      .map((text, index) => ` ${pad(text, widths[index] ?? 0, numericTypes.includes(columns[index]?.type ?? 0))} `)
      .join("|")
      .trimEnd();
  const ruler = widths.map((width) => "-".repeat(width + 2)).join("+");
  return [lineOf(names), ruler, ...cells.map(lineOf), `(${rows.length} ${rows.length === 1 ? "row" : "rows"})`].join(
    "\n",
  );
}

function textOf(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

function pad(text: string, width: number, isNumeric: boolean): string {
  const missing = " ".repeat(width - lengthOf(text));
  return isNumeric ? missing + text : text + missing;
}

function lengthOf(text = ""): number {
  return [...text].length;
}

/** A value must not end a row, nor control the terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (character) =>
    JSON.stringify(character).slice(1, -1).replace("\u007f", "\\u007f"),
  );
}

/** @returns an error as psql prints it, with the line that it is about and its SQLSTATE */
export function formatSqlError(error: Error, text: string): string {
  const { severity, code, position, detail, hint } = error as Error & Readonly<Record<string, string | undefined>>;
  const lines = [
    `${severity ?? "ERROR"}:  ${error.message}${code === undefined ? "" : ` (${code})`}`,
    ...(position === undefined ? [] : placeOf(text, Number(position))),
    ...(detail === undefined ? [] : [`DETAIL:  ${detail}`]),
    ...(hint === undefined ? [] : [`HINT:  ${hint}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** @param position in characters, counted from 1 */
function placeOf(text: string, position: number): string[] {
  const characters = [...text];
  const before = characters
    .slice(0, position - 1)
    .join("")
    .split("\n");
  const column = lengthOf(before.at(-1));
  const line =
    characters
      .slice(position - 1 - column)
      .join("")
      .split("\n")[0] ?? "";
  const from = Math.max(0, column - shownBefore);
  const label = `LINE ${before.length}: `;
  const shown = [...line]
    .slice(from, from + shownAround)
    .join("")
    .replaceAll(/\p{Cc}/gu, " ");
  return [label + shown, `${" ".repeat(label.length + column - from)}^`];
}
