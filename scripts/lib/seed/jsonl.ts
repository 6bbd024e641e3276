import type { PreparedAppend } from "../event-store/append.ts";
import { DuplicateEvent, EventStoreError, InvalidInput } from "../event-store/errors.ts";
import type { Sql } from "../postgres/driver.ts";
import { appendMissing } from "./append-missing.ts";
import { parseEvent } from "./event-line.ts";
import { seedConflict, wrongFile } from "./failure.ts";
import { type Line, readLines } from "./lines.ts";
import type { SeedProgress } from "./progress.ts";
import type { SeedFile } from "./sets.ts";

/** How many events a file has, and how many of them were not in the log. */
export interface LoadedEvents {
  readonly events: number;
  readonly appended: number;
}

const maxBatch = { count: 500, chars: 4 * 1024 * 1024 };

interface EventAt extends Pick<Line, "number"> {
  readonly append: PreparedAppend;
}

/**
 * Appends the events of a file, in its order.
 *
 * @param tx the transaction of the whole file
 * @throws {ScriptError} `SEED_FILE` (exit 2), or `SEED_CONFLICT` (exit 8), with `file:line`
 */
export async function loadEvents(tx: Sql, file: SeedFile, progress: SeedProgress): Promise<LoadedEvents> {
  const [row] = await tx<{ drawn: bigint }[]>`select event_store.last_drawn_position() as drawn`;
  const drawn = row?.drawn ?? 0n;
  let [events, appended] = [0, 0];
  for await (const batch of readBatches(file)) {
    appended += await appendLines(tx, { file, batch, drawn });
    events += batch.length;
    progress.show(events);
  }
  return { events, appended };
}

async function* readBatches(file: SeedFile): AsyncGenerator<EventAt[]> {
  let [batch, chars]: [EventAt[], number] = [[], 0];
  for await (const line of readLines(file.path)) {
    if (line.text.trim() === "") continue;
    batch.push({ number: line.number, append: readEvent(file, line) });
    chars += line.text.length;
    if (batch.length < maxBatch.count && chars < maxBatch.chars) continue;
    yield batch;
    [batch, chars] = [[], 0];
  }
  if (batch.length > 0) yield batch;
}

function readEvent({ set, path }: SeedFile, line: Line): PreparedAppend {
  try {
    return parseEvent(set, line);
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error;
    throw wrongFile(`${path}:${line.number}`, error.message);
  }
}

interface Batch {
  readonly file: SeedFile;
  readonly batch: readonly EventAt[];
  /** The last position drawn before the file was loaded. */
  readonly drawn: bigint;
}

/** @returns how many were not in the log */
async function appendLines(tx: Sql, { file, batch, drawn }: Batch): Promise<number> {
  refuseRepetition(file, batch);
  const outcomes = await appendMissing(
    tx,
    batch.map(({ append }) => append),
  );
  for (const [index, outcome] of outcomes.entries()) {
    const { number, append } = batch[index] as EventAt;
    const place = `${file.path}:${number}`;
    if (!outcome.ok) throw refused(place, outcome.error);
    if (!outcome.isNew && outcome.position > drawn) throw repeated(place, append, "an earlier line");
  }
  return outcomes.filter((outcome) => outcome.ok && outcome.isNew).length;
}

function refuseRepetition({ path }: SeedFile, batch: readonly EventAt[]): void {
  const lines = new Map<string | undefined, number>();
  for (const { number, append } of batch) {
    const earlier = lines.get(append.ids[0]);
    if (earlier !== undefined) throw repeated(`${path}:${number}`, append, `line ${earlier}`);
    lines.set(append.ids[0], number);
  }
}

function repeated(place: string, { ids: [id] }: PreparedAppend, line: string) {
  return wrongFile(place, `the id ${id} is that of ${line}`);
}

/** Other errors than those of the event store concern the server. */
function refused(place: string, error: unknown): unknown {
  if (error instanceof InvalidInput) return wrongFile(place, error.message);
  if (!(error instanceof EventStoreError)) return error;
  return seedConflict(
    `${place}: ${error.message}`,
    error instanceof DuplicateEvent
      ? "The log has another event with this id. An event without an id has that of its line: add lines only at the end."
      : "The log has other events than the file expects.",
    "Fix the file, or reset the database, then run this again. Nothing was loaded.",
  );
}
