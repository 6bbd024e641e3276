const units = ["B", "kB", "MB", "GB", "TB"];

/** @returns a size in powers of 1000: `1.4 MB` */
export function formatBytes(sizeBytes: number): string {
  const power = Math.min(Math.floor(Math.log10(Math.max(sizeBytes, 1)) / 3), units.length - 1);
  return `${(sizeBytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** @returns the two largest units of a duration: `3 h 12 min` */
export function formatSeconds(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return "0 s";
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}

/** @returns one line per row, with the second column aligned */
export function formatTable(rows: readonly (readonly [string, string | number | null])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join("\n");
}

/** If a label is longer, its text starts on the next line. */
const maxLabelWidth = 30;

/** @returns two indented columns; the second one is wrapped to fit the width */
export function formatColumns(rows: readonly (readonly [label: string, text: string])[], width: number): string {
  const labelWidth = Math.max(...rows.map(([label]) => label.length).filter((length) => length <= maxLabelWidth), 0);
  const indent = " ".repeat(labelWidth + 4);
  const lines = rows.flatMap(([label, text]) => {
    const [first = "", ...others] = wrapText(text, width - indent.length);
    const isBeside = label.length <= labelWidth;
    const start = isBeside ? [`  ${label.padEnd(labelWidth)}  ${first}`] : [`  ${label}`, `${indent}${first}`];
    return [...start, ...others.map((line) => `${indent}${line}`)];
  });
  return lines.join("\n");
}

/** @returns the words of a text in lines of at most `width` characters */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)} ${word}`;
    if (lines.length === 0 || longer.length > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
