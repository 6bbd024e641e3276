/** The ends of a row, and of a column within it, in the text format of COPY; neither occurs in a value. */
const rowEnd = 0x0a;
const columnEnd = 0x09;

/** @returns how many rows end in a piece of a COPY stream */
export function countRowEnds(piece: Buffer): number {
  return count(piece, rowEnd);
}

/** @returns how many columns but the last of each row end in a piece of a COPY stream */
export function countColumnEnds(piece: Buffer): number {
  return count(piece, columnEnd);
}

function count(piece: Buffer, byte: number): number {
  let found = 0;
  for (let at = piece.indexOf(byte); at >= 0; at = piece.indexOf(byte, at + 1)) found++;
  return found;
}
