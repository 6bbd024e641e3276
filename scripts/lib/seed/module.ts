import { pathToFileURL } from "node:url";
import { Random } from "../demo/random.ts";
import { sendAppend } from "../event-store/append.ts";
import { describeError } from "../event-store/describe-error.ts";
import type { EventStore } from "../event-store/store.ts";
import type { Sql, Transaction } from "../postgres/driver.ts";
import { errorCode, isConflict, isServerUnavailable } from "../postgres/failure.ts";
import { transactionState } from "../postgres/transaction.ts";
import { describeLoadError } from "../stack/projection-module.ts";
import { seedFailed, wrongFile } from "./failure.ts";
import type { SeedFile } from "./sets.ts";

/** What the default export of a `.ts` seed gets. All that it does is one transaction. */
export interface SeedContext {
  /** An event store whose calls are part of the transaction. */
  readonly store: EventStore;
  /** The transaction, for statements. */
  readonly sql: Transaction;
  /** Random numbers, the same for the same `--rng`. */
  readonly rng: Random;
}

type SeedFunction = (context: SeedContext) => unknown;

/** Where to run a module. */
export interface ModuleRun {
  readonly store: EventStore;
  /** The transaction of the whole file. */
  readonly tx: Transaction;
  readonly rng: string;
}

/**
 * Calls the default export of a module.
 *
 * @throws {ScriptError} `SEED_FILE` (exit 2) if it cannot be loaded, `SEED_FAILED` (exit 1) with `file:line:column` of
 * what it throws
 */
export async function runModule({ path, set }: SeedFile, { store, tx, rng }: ModuleRun): Promise<void> {
  const seed = await loadFunction(path);
  try {
    await seed({ store: bind(store, tx), sql: tx, rng: new Random(`${set} ${rng}`) });
    // A statement that has failed keeps the transaction from being committed, even if its error was caught.
    const { failure } = transactionState(tx as unknown as Sql);
    if (failure !== undefined) throw failure.error;
  } catch (error) {
    if (isConflict(error) || isServerUnavailable(error)) throw error;
    throw seedFailed(placeOf(path, error), describeError(error), whyOf(error));
  }
}

async function loadFunction(path: string): Promise<SeedFunction> {
  const exported = await import(pathToFileURL(path).href).catch((error: unknown) => {
    throw wrongFile(path, "the module cannot be loaded", `${describeLoadError(error)}. Nothing was loaded.`);
  });
  const { default: seed } = exported as { readonly default?: unknown };
  if (typeof seed === "function") return seed as SeedFunction;
  const fix = "Write: export default async function ({ store, sql, rng }) { … }. Nothing was loaded.";
  throw wrongFile(path, "the module has no default export that is a function", fix);
}

/** A store whose every call is part of a transaction, whether or not the caller passes it on. */
function bind(store: EventStore, tx: Transaction): EventStore {
  const target = { appends: store.appends, inline: undefined };
  return {
    ...store,
    ...target,
    sql: tx as unknown as Sql,
    appends: {
      add: (_key, append, _sizeBytes, signal) =>
        sendAppend(target, append, { transaction: tx, ...(signal === undefined ? {} : { signal }) }),
    },
    transaction: (work) => work(tx),
    async [Symbol.asyncDispose]() {},
  };
}

/** @returns `file:line:column` if the stack tells where in the file it happened */
function placeOf(path: string, error: unknown): string {
  const { stack = "" } = (error ?? {}) as { readonly stack?: string };
  for (const name of [pathToFileURL(path).href, path]) {
    const [, place] = stack.split(name)[1]?.match(/^(:\d+:\d+)/) ?? [];
    if (place !== undefined) return `${path}${place}`;
  }
  return path;
}

function whyOf(error: unknown): string {
  const { detail, hint } = (error ?? {}) as { readonly detail?: unknown; readonly hint?: unknown };
  const code = errorCode(error);
  return [code === "" ? undefined : `Code ${code}`, detail, hint]
    .filter((reason) => typeof reason === "string")
    .join("\n");
}
