/** The bytes that end a row and a column in COPY's text format. Values contain neither. */
const rowEnd = 0x0a;
const columnEnd = 0x09;

/** @returns the number of row ends in a piece of a COPY stream */
export function countRowEnds(piece: Buffer): number {
  return count(piece, rowEnd);
}

/** @returns the number of column ends in a piece of a COPY stream; the last column of a row has none */
export function countColumnEnds(piece: Buffer): number {
  return count(piece, columnEnd);
}

function count(piece: Buffer, byte: number): number {
  let found = 0;
  for (let at = piece.indexOf(byte); at >= 0; at = piece.indexOf(byte, at + 1)) found++;
  return found;
}
