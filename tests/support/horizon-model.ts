// Why the horizon of event_store.safe_position() is right: a model of how writers, a reader and crashes interleave in
// PostgreSQL. explore() visits every interleaving of a small case.
//
// A step is what other sessions see happen at once. Where the model is simpler than PostgreSQL, no outcome is left out:
// - Drawing a position and inserting its row is one step: no other session sees a row before its transaction commits.
// - With synchronous_commit = on, writing the commit record and flushing it is one step. A crash in between keeps the
//   record or loses it, as a crash after or before the step does.
// - A rollback is one step: no other session ever saw its rows, and they are dead before its lock is released.
// - Reading rows and storing the checkpoint outside the database is one step: no other session looks at the checkpoint.
// - Of the WAL only the commits are kept, each with the last position drawn before it. After a crash the sequence
//   restarts anywhere from there (only that survived) to the last position drawn (every draw survived). PostgreSQL logs
//   32 positions ahead and may restart even higher; then, too, new positions are above all that anyone has seen.
// - Each writer is one transaction. A crash ends those that have started; the others may start after it.

import type { Model, Next } from "./explorer.ts";

interface Event {
  readonly position: number;
  readonly writer: number;
}

type WriterStep =
  | "read last"
  | "publish floor"
  | "draw"
  | "roll back to savepoint"
  | "commit"
  | "become visible"
  | "release floor";

type ReaderStep = "take snapshot" | "read last" | "read floors" | Find | Read;
/** Each in a snapshot of its own, unless it uses the one taken before. */
type Find = "find" | "find in old snapshot";
type Read = "read" | "read in old snapshot";

/** The answer for the highest bound so far. */
interface Known {
  readonly answer: number;
  readonly bound: number;
}

/** A way to ask how far the log is complete, and to read that far. */
export interface Horizon {
  readonly steps: readonly ReaderStep[];
  readonly answer: (bound: number, visible: readonly number[], known: Known) => number;
  /** Who remembers the highest answer. A crash ends the database's session, but not the reader's process. */
  readonly knownTo: "nobody" | "session" | "process";
}

/** A case, small enough to visit all its states. */
export interface Case {
  readonly horizon: Horizon;
  /** The transactions. Each may roll back instead of committing. */
  readonly writers: readonly (readonly WriterStep[])[];
  /** How many of them may be in flight at a time; all by default. */
  readonly atOnce?: number;
  readonly polls: number;
  readonly crashes: number;
  readonly pageSize?: number;
  /** Whether the reader may also poll in the transaction of a writer that has appended. */
  readonly readsInside?: boolean;
  readonly synchronousCommit: "on" | "off";
  /** What the reader checks its checkpoint against before each poll. */
  readonly checks: "nothing" | "the last position" | "the event";
}

interface Writer {
  readonly at: number;
  readonly lastRead: number;
  readonly floor: number | null;
  readonly drawn: readonly number[];
}

interface Commit {
  readonly events: readonly Event[];
  readonly lastDrawn: number;
}

interface Poll {
  readonly session: number;
  readonly at: number;
  readonly snapshot: readonly Event[];
  readonly bound: number;
  readonly answer: number;
}

interface Reader {
  readonly polls: number;
  readonly poll: Poll | null;
  readonly delivered: readonly Event[];
  readonly checkpoint: number;
  /** The event at the checkpoint. */
  readonly mark: Event | null;
  readonly hasNoticed: boolean;
}

export interface State {
  readonly last: number;
  readonly wal: readonly Commit[];
  readonly writers: readonly Writer[];
  readonly known: readonly Known[];
  readonly reader: Reader;
  readonly crashes: number;
}

/** What is wrong after the reader has read everything. A delivered event that is not stored in the end has vanished. */
export type Fault = "missed" | "repeated" | "disordered" | "vanished unnoticed" | "false alarm";

/** The model of a case. */
export function horizonModel(model: Case): Model<State, Fault> {
  return {
    initial: initialState(model),
    next: (state) => nextStates(model, state),
    faultOf: (state) => faultOf(model, state),
  };
}

const nothingKnown: Known = { answer: 0, bound: 0 };
const idle: Writer = { at: 0, lastRead: 0, floor: null, drawn: [] };

function initialState({ writers, polls, crashes }: Case): State {
  return {
    last: 0,
    wal: [],
    writers: writers.map(() => idle),
    // The last session is the reader's own.
    known: [...writers, "reader"].map(() => nothingKnown),
    reader: { polls, poll: null, delivered: [], checkpoint: 0, mark: null, hasNoticed: false },
    crashes,
  };
}

function* nextStates(model: Case, state: State): Generator<Next<State>> {
  for (const index of model.writers.keys()) yield* nextOfWriter(model, state, index);
  yield* nextOfReader(model, state);
  if (state.crashes > 0) yield* crashesOf(model, state);
}

function* nextOfWriter(model: Case, state: State, index: number): Generator<Next<State>> {
  const writer = state.writers[index] ?? idle;
  const step = stepOf(model, state, index);
  if (step === undefined || state.reader.poll?.session === index) return;
  if (writer.at === 0 && !mayStart(model, state, index)) return;
  const name = `writer ${index + 1}`;
  const next = { ...state, writers: state.writers.with(index, { ...writer, at: writer.at + 1 }) };
  yield [`${name}: ${step}${step === "draw" ? ` ${state.last + 1}` : ""}`, takeWriterStep(next, index, step)];
  if (step === "commit") yield [`${name}: roll back`, endWriters(model, state, (other) => other === index)];
}

function stepOf(model: Case, { writers }: State, index: number): WriterStep | undefined {
  return model.writers[index]?.[writers[index]?.at ?? 0];
}

/** Writers with the same steps start in their order: the other orders differ only in names. */
function mayStart(model: Case, state: State, index: number): boolean {
  const isTwinIdle = model.writers[index - 1] === model.writers[index] && state.writers[index - 1]?.at === 0;
  const inFlight = state.writers.filter(({ at }, other) => at > 0 && stepOf(model, state, other) !== undefined);
  return !isTwinIdle && inFlight.length < (model.atOnce ?? model.writers.length);
}

function endWriters(model: Case, state: State, isEnding: (index: number) => boolean): State {
  const ended = (index: number) => ({ ...idle, at: model.writers[index]?.length ?? 0 });
  return { ...state, writers: state.writers.map((writer, index) => (isEnding(index) ? ended(index) : writer)) };
}

function takeWriterStep(state: State, index: number, step: WriterStep): State {
  const writer = state.writers[index] ?? idle;
  const change = (changes: Partial<Writer>) => state.writers.with(index, { ...writer, ...changes });
  const last = state.last + 1;
  switch (step) {
    case "read last":
      return { ...state, writers: change({ lastRead: state.last }) };
    case "publish floor":
      return { ...state, writers: change({ floor: writer.lastRead, lastRead: 0 }) };
    case "draw":
      return { ...state, last, writers: change({ drawn: [...writer.drawn, last] }) };
    case "roll back to savepoint":
      // It was taken at the beginning, when the session had not asked for an answer yet.
      return { ...state, known: state.known.with(index, nothingKnown), writers: change({ floor: null, drawn: [] }) };
    case "commit":
      return { ...state, wal: [...state.wal, { events: ownEvents(state, index), lastDrawn: state.last }] };
    case "become visible":
      return { ...state, writers: change({ drawn: [] }) };
    case "release floor":
      return { ...state, writers: change({ floor: null }) };
  }
}

function ownEvents(state: State, session: number): Event[] {
  return (state.writers[session]?.drawn ?? []).map((position) => ({ position, writer: session }));
}

/** With synchronous_commit = off, a crash may lose any number of the last commits. */
function* crashesOf(model: Case, state: State): Generator<Next<State>> {
  const fewest = model.synchronousCommit === "on" ? state.wal.length : 0;
  for (let kept = fewest; kept <= state.wal.length; kept++) {
    const wal = state.wal.slice(0, kept);
    for (let last = wal.at(-1)?.lastDrawn ?? 0; last <= state.last; last++) {
      const label = `crash: ${state.wal.length - kept} commits lost, last is ${last}`;
      yield [label, crash(model, { ...state, wal, last })];
    }
  }
}

function crash(model: Case, state: State): State {
  const ended = endWriters(model, state, (index) => state.writers[index]?.at !== 0);
  const known = model.horizon.knownTo === "process" ? state.known : state.known.map(() => nothingKnown);
  return { ...ended, known, reader: { ...state.reader, poll: null }, crashes: state.crashes - 1 };
}

function* nextOfReader(model: Case, state: State): Generator<Next<State>> {
  const { reader } = state;
  if (reader.poll !== null) {
    yield takeReaderStep(model, state, reader.poll);
  } else if (reader.polls > 0 && !reader.hasNoticed) {
    for (const session of sessionsOf(model, state)) {
      yield startPoll(model, { ...state, reader: { ...reader, polls: reader.polls - 1 } }, session);
    }
  }
}

function sessionsOf(model: Case, state: State): number[] {
  const hasAppended = (index: number) => state.writers[index]?.drawn.length !== 0;
  const inside = [...model.writers.keys()].filter((index) => {
    return hasAppended(index) && stepOf(model, state, index) !== "become visible";
  });
  return [model.writers.length, ...(model.readsInside === true ? inside : [])];
}

/** The reader checks its checkpoint, and takes its first step. */
function startPoll(model: Case, state: State, session: number): Next<State> {
  const { checkpoint, mark } = state.reader;
  const isGone = model.checks === "the event" && mark !== null && !includes(visibleTo(model, state, session), mark);
  if (isGone || (model.checks !== "nothing" && checkpoint > state.last)) {
    return ["reader: notice the loss", { ...state, reader: { ...state.reader, hasNoticed: true } }];
  }
  const poll: Poll = { session, at: 0, snapshot: [], bound: Number.MAX_SAFE_INTEGER, answer: 0 };
  return takeReaderStep(model, state, poll);
}

function takeReaderStep(model: Case, state: State, poll: Poll): Next<State> {
  const step = model.horizon.steps[poll.at] ?? "read";
  const name = poll.session < model.writers.length ? `reader in writer ${poll.session + 1}` : "reader";
  const visible = step.endsWith("in old snapshot") ? poll.snapshot : visibleTo(model, state, poll.session);
  const move = (changes: Partial<Poll>, known = state.known): Next<State> => {
    const next = { ...poll, at: poll.at + 1, ...changes };
    const label = `${name}: ${step}${changes.answer === undefined ? "" : ` ${changes.answer}`}`;
    return [label, { ...state, known, reader: { ...state.reader, poll: next } }];
  };
  switch (step) {
    case "take snapshot":
      return move({ snapshot: visible });
    case "read last":
      return move({ bound: Math.min(poll.bound, state.last) });
    case "read floors":
      // One step: pg_locks copies the lock table while it holds all of its latches.
      return move({ bound: Math.min(poll.bound, ...state.writers.flatMap(({ floor }) => floor ?? [])) });
    case "find":
    case "find in old snapshot": {
      const [answer, known] = find(model, state, poll, visible);
      return move({ answer }, known);
    }
    default:
      return [`${name}: ${step}`, { ...state, reader: read(model, state.reader, poll, visible) }];
  }
}

/** The rows that a new snapshot of the session sees. */
function visibleTo(model: Case, state: State, session: number): Event[] {
  const isVisible = ({ writer }: Event) => stepOf(model, state, writer) !== "become visible";
  return [...committed(state).filter(isVisible), ...ownEvents(state, session)];
}

function committed(state: State): Event[] {
  return state.wal.flatMap(({ events }) => events);
}

function find(model: Case, state: State, poll: Poll, visible: readonly Event[]): [number, readonly Known[]] {
  const { answer: toAnswer, knownTo } = model.horizon;
  const known = state.known[poll.session] ?? nothingKnown;
  const positions = visible.map(({ position }) => position);
  const answer = toAnswer(poll.bound, positions, known);
  const isNews = knownTo !== "nobody" && poll.bound > known.bound;
  return [answer, isNews ? state.known.with(poll.session, { answer, bound: poll.bound }) : state.known];
}

/** A full page ends at its last event; otherwise the reader has read as far as the answer. */
function read({ pageSize }: Case, reader: Reader, poll: Poll, visible: readonly Event[]): Reader {
  const found = visible
    .filter(({ position }) => position > reader.checkpoint && position <= poll.answer)
    .toSorted((one, other) => one.position - other.position)
    .slice(0, pageSize);
  const end = found.length === pageSize ? found.at(-1)?.position : poll.answer;
  const checkpoint = Math.max(reader.checkpoint, end ?? 0);
  const mark = visible.find(({ position }) => position === checkpoint) ?? null;
  return { ...reader, poll: null, delivered: [...reader.delivered, ...found], checkpoint, mark };
}

/** Judges a state in which nothing is in flight, after the reader has read what is left. */
function faultOf(model: Case, state: State): Fault | undefined {
  const isQuiet = state.writers.every(({ at }, index) => at === 0 || stepOf(model, state, index) === undefined);
  if (!isQuiet || state.reader.poll !== null) return undefined;
  const { delivered, hasNoticed } = readToTheEnd(model, state);
  const stored = committed(state);
  const hasVanished = delivered.some((event) => !includes(stored, event));
  if (hasNoticed) return hasVanished ? undefined : "false alarm";
  const kept = delivered.filter((event) => includes(stored, event));
  if (delivered.some((event, index) => includes(delivered.slice(0, index), event))) return "repeated";
  if (delivered.some(({ position }, index) => position < (delivered[index - 1]?.position ?? 0))) return "disordered";
  if (kept.length < stored.length) return "missed";
  return hasVanished ? "vanished unnoticed" : undefined;
}

function readToTheEnd(model: Case, state: State): Reader {
  const next = pollOnce(model, state);
  const isAtEnd = next.reader.hasNoticed || next.reader.checkpoint === state.reader.checkpoint;
  return isAtEnd ? next.reader : readToTheEnd(model, next);
}

function pollOnce(model: Case, state: State): State {
  let [, next] = startPoll(model, state, model.writers.length);
  while (next.reader.poll !== null) [, next] = takeReaderStep(model, next, next.reader.poll);
  return next;
}

function includes(events: readonly Event[], { position, writer }: Event): boolean {
  return events.some((event) => event.position === position && event.writer === writer);
}
