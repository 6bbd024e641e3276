import type { LiveLine, TransferState } from "../cli/reporter.ts";
import type { QualifiedName } from "./catalog.ts";
import { countRowEnds } from "./rows.ts";

/** Receives the state of a transfer; undefined if nothing is shown, because counting rows takes time. */
export type OnProgress = LiveLine<TransferState>["show"];

/** Called with each piece of a table's COPY stream that was transferred. */
export type OnPiece = (table: QualifiedName, piece: Buffer) => void;

/** Adds up the pieces of a transfer, and reports the totals after each piece. */
export function trackProgress(bytesTotal: number, onProgress: OnProgress): OnPiece {
  let [rowsDone, bytesDone] = [0, 0];
  return ({ schema, name }, piece) => {
    if (onProgress === undefined) return;
    rowsDone += countRowEnds(piece);
    bytesDone += piece.length;
    onProgress({ table: `${schema}.${name}`, rowsDone, bytesDone, bytesTotal });
  };
}
