import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { inSavepoint, inTransaction } from "../postgres/transaction.ts";
import { schemaDir } from "./source.ts";

/** An invariant that does not hold. */
export interface Violation {
  /** Name of the file of `sql/verify`, without `.sql`. */
  readonly invariant: string;
  /** The first rows that violate it. */
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

const shownRows = 5;

/** One query alone leaves most processors idle, unless the planner makes it parallel. */
const concurrentQueries = 2;

/**
 * Checks the invariants of the schema. Each file in `sql/verify` is a query that returns the rows that violate one.
 *
 * @param sql a pool of two connections checks two invariants at a time
 * @returns the violations; empty if all invariants hold
 */
export async function readViolations(sql: Sql, dir: string = join(schemaDir, "verify")): Promise<Violation[]> {
  const names = (await readdir(dir)).filter((name) => name.endsWith(".sql")).toSorted();
  const remaining = names.values();
  const found = new Map<string, Violation["rows"]>();
  const checkRemaining = async (tx: Sql) => {
    await tx.unsafe(plannerSettings).simple();
    for (const name of remaining) found.set(name, await readRows(tx, await readFile(join(dir, name), "utf8")));
  };
  const workers = Array.from({ length: concurrentQueries }, () => inTransaction(sql, checkRemaining, "read only"));
  await Promise.all(workers);
  return names.flatMap((name) => {
    const rows = found.get(name) ?? [];
    return rows.length === 0 ? [] : [{ invariant: basename(name, ".sql"), rows }];
  });
}

/**
 * An invariant reads whole tables: it sorts them faster than it visits each row in the order of an index, and still
 * faster if the workers of a parallel plan sort a part each.
 */
const plannerSettings = `
  set local work_mem = '256MB';
  set local random_page_cost = 4;
  set local parallel_tuple_cost = 0.01`;

const undefinedFunction = "42883";
const undefinedTable = "42P01";

/** @returns the first rows; none if the schema, such as that of an old archive, is older than the invariant */
async function readRows(tx: Sql, query: string): Promise<Violation["rows"]> {
  // MATERIALIZED, because the limit makes the planner optimise for the first rows, and usually there are none.
  const statement = `with violation as materialized (${query}) select * from violation limit ${shownRows}`;
  try {
    return [...(await inSavepoint(tx, (savepoint) => savepoint.unsafe<Record<string, unknown>[]>(statement)))];
  } catch (error) {
    if ([undefinedFunction, undefinedTable].includes(errorCode(error))) return [];
    throw error;
  }
}

/** @throws {ScriptError} `INVARIANT` (exit 11) with the names and first rows of the violations, if there are any */
export function checkNoViolations(violations: readonly Violation[], message: string): void {
  if (violations.length === 0) return;
  const print = (_key: string, value: unknown) => (typeof value === "bigint" ? `${value}` : value);
  throw new ScriptError({
    code: "INVARIANT",
    exitCode: exitCodes.verification,
    message,
    why: violations.map(({ invariant, rows }) => `${invariant}: ${JSON.stringify(rows, print)}`).join("\n"),
    fix: "Read sql/verify/<name>.sql, which explains what must hold.",
  });
}
