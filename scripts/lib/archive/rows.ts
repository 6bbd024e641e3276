/** The ends of a row and of a column in COPY's text format; values contain neither. */
const rowEnd = 0x0a;
const columnEnd = 0x09;

/** @returns the number of rows that end in a piece of a COPY stream */
export function countRowEnds(piece: Buffer): number {
  return count(piece, rowEnd);
}

/** @returns the number of columns that end in a piece of a COPY stream, not counting the last of each row */
export function countColumnEnds(piece: Buffer): number {
  return count(piece, columnEnd);
}

function count(piece: Buffer, byte: number): number {
  let found = 0;
  for (let at = piece.indexOf(byte); at >= 0; at = piece.indexOf(byte, at + 1)) found++;
  return found;
}
