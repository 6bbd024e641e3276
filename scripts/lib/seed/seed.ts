import { usageError } from "../cli/errors.ts";
import type { Config } from "../config.ts";
import { orderSummary } from "../demo/order-summary.ts";
import type { EventStore } from "../event-store/store.ts";
import { takeTransactionLock } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";
import { runProjections, withProjections, withStackStore } from "../stack/projections.ts";
import type { RunContext } from "../stack/stack.ts";
import { appendDemo } from "./demo.ts";
import { loadEvents } from "./jsonl.ts";
import { seedLock } from "./lock.ts";
import { runModule } from "./module.ts";
import { SeedProgress } from "./progress.ts";
import { demoSet, findSet, type SeedFile } from "./sets.ts";
import { runStatements } from "./statements.ts";

/** What to seed. */
export interface SeedOptions {
  /** @default the demo */
  readonly set: string | undefined;
  /** Number of events of the demo; @default 500 */
  readonly events: number | undefined;
  /** Seed of the random numbers of the demo or a `.ts` file; @default "1" */
  readonly rng: string | undefined;
}

/** What was seeded. */
export interface SeedResult {
  readonly set: string;
  /** The file of the set; null for the demo. */
  readonly file: string | null;
  /** Number of events in the set; null if it consists of statements or of code. */
  readonly events: number | null;
  /** Number of events that were not in the log; null if it consists of statements or of code. */
  readonly appended: number | null;
}

const defaults = { events: 500, rng: "1" };

/**
 * Seeds a database, with the application's login. A file is loaded in one transaction.
 *
 * @throws {ScriptError} `USAGE`, `NO_SEED`, `SEED_AMBIGUOUS`, `SEED_FILE` (exit 2), `SEED_FAILED` (exit 1),
 * `SEED_CONFLICT` (exit 8)
 */
export async function seed(config: Config, options: SeedOptions, run: RunContext): Promise<SeedResult> {
  const { set = demoSet, events, rng } = options;
  const file = await findSet(config.sqlDir, set);
  if (file === undefined) return await seedDemo(config, { events: events ?? defaults.events, rng }, run);
  if (events !== undefined) throw usageError("--events applies only to the demo");
  if (rng !== undefined && file.kind !== "ts") throw usageError("--rng applies only to the demo and to .ts files");
  return await withStackStore(config, (store) => loadFile(store, file, { rng: rng ?? defaults.rng, run }));
}

/** Checks the name and the flags of a set, without loading it. */
export async function checkSet({ sqlDir }: Config, set: string = demoSet): Promise<void> {
  await findSet(sqlDir, set);
}

type DemoSize = Required<Pick<SeedOptions, "rng">> & { readonly events: number };

async function seedDemo(
  config: Config,
  { events, rng = defaults.rng }: DemoSize,
  run: RunContext,
): Promise<SeedResult> {
  const chosen = { module: undefined, name: orderSummary.name };
  return withProjections(config, chosen, async (store, example) => {
    const describe = (done: number, rate: number) => `seed  ${done} of ${events} events, ${rate}/s`;
    const appended = await withProgress(run, describe, (progress) => appendDemo(store, { events, rng, progress }, run));
    if (appended >= worthTelling) run.reporter.info(`appended ${appended} events; projecting ${orderSummary.name}`);
    await runProjections(store, example, { stopWhenCaughtUp: true, signal: run.signal });
    return { set: demoSet, file: null, events, appended };
  });
}

/** Projecting so many takes more than a second. */
const worthTelling = 10_000;

interface FileRun {
  readonly rng: string;
  readonly run: RunContext;
}

async function loadFile(store: EventStore, file: SeedFile, { rng, run }: FileRun): Promise<SeedResult> {
  const unit = file.kind === "jsonl" ? "events" : "statements";
  const describe = (done: number, rate: number) => `seed ${file.set}  ${done} ${unit}, ${rate}/s`;
  const loaded = await withProgress(run, describe, (progress) =>
    store.transaction(async (tx) => {
      const sql = tx as unknown as Sql;
      const onWait = () => run.reporter.info("waiting for another seed of this set");
      await takeTransactionLock(sql, seedLock(file.set), onWait);
      if (file.kind === "jsonl") return await loadEvents(sql, file, progress);
      await (file.kind === "sql" ? runStatements(sql, file, progress) : runModule(file, { store, tx, rng }));
      run.signal.throwIfAborted();
      return { events: null, appended: null };
    }),
  );
  return { set: file.set, file: file.path, ...loaded };
}

async function withProgress<Result>(
  { reporter }: RunContext,
  describe: (done: number, perSecond: number) => string,
  work: (progress: SeedProgress) => Promise<Result>,
): Promise<Result> {
  using progress = new SeedProgress(reporter, describe);
  return await work(progress);
}
