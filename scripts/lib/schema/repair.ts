import { rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { type LedgerEntry, readLedger } from "./ledger.ts";
import { lockSchema, type SchemaLockOptions } from "./lock.ts";
import { placeholdersFor } from "./placeholders.ts";
import { conflictError, entryOf, findConflicts, type SchemaConflict, sourceOf } from "./plan.ts";
import { prepareFile } from "./prepare.ts";
import { progressChecksum } from "./run-statements.ts";
import { nextNumber, numberOf, type SchemaFile, titleOf } from "./source.ts";

/** A change that makes the files and the ledger agree. */
export type Repair =
  | { readonly kind: "accept"; readonly file: SchemaFile; readonly checksum: string; readonly statements?: number }
  | { readonly kind: "rename"; readonly file: SchemaFile; readonly earlierName: string }
  | { readonly kind: "forget"; readonly title: string; readonly entry: Pick<SchemaFile, "source" | "name"> }
  | { readonly kind: "renumber"; readonly file: SchemaFile; readonly name: string };

/** How to repair. */
export interface RepairOptions extends SchemaLockOptions {
  readonly readFiles: () => Promise<readonly SchemaFile[]>;
  readonly isDryRun: boolean;
  /** Called with what is about to be done, unless that is nothing; throws to cancel. */
  readonly confirm: (repairs: readonly Repair[]) => Promise<void>;
}

/** What was done, or would be, one phrase each. */
export interface RepairResult {
  readonly repairs: readonly string[];
  readonly isDryRun: boolean;
}

/**
 * Makes the ledger follow the files of a project: accepts edited and renamed ones, and forgets those that are missing. A new migration
 * that comes before an applied one gets the next number. Runs no statement of a file.
 *
 * @throws {ScriptError} `LOCKED` (exit 5), `SCHEMA_DRIFT` (exit 4) if files of the product are concerned
 */
export async function repairSchema(target: ConnectionTarget, options: RepairOptions): Promise<RepairResult> {
  const { isDryRun, confirm, signal } = options;
  await using connection = openConnection(target, { applicationName: "cqrs-postgres schema repair", signal });
  try {
    await lockSchema(connection.sql, options);
    const repairs = await findRepairs(connection.sql, target.database, await options.readFiles());
    if (repairs.length > 0 && !isDryRun) {
      await confirm(repairs);
      await perform(connection.sql, repairs);
    }
    return { repairs: repairs.map(describeRepair), isDryRun };
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** @returns a repair in one phrase */
export function describeRepair(repair: Repair): string {
  switch (repair.kind) {
    case "accept":
      return repair.statements === undefined
        ? `accept ${titleOf(repair.file)} as it is now; its changes are not applied to this database`
        : `accept the first ${repair.statements} statements of ${titleOf(repair.file)} as they are now`;
    case "rename":
      return `note in the ledger that ${repair.earlierName} is now ${titleOf(repair.file)}`;
    case "forget":
      return `forget that ${repair.title} was applied; what it has created stays`;
    case "renumber":
      return `rename the file ${repair.file.path} to ${repair.name.slice("migrations/".length)}`;
  }
}

async function findRepairs(sql: Sql, database: string, files: readonly SchemaFile[]): Promise<Repair[]> {
  const applied = await readLedger(sql);
  const names = files.filter(({ source }) => source === "app").map(({ name }) => name);
  const repairs: Repair[] = [];
  for (const file of findSameNumbers(files, applied)) {
    const repair = renumber(file, names);
    names.push(repair.name);
    repairs.push(repair);
  }
  const renumbered = new Set(repairs.map((repair) => ("file" in repair ? repair.file : undefined)));
  const others = files.filter((file) => !renumbered.has(file));
  for (const conflict of findConflicts(others, applied)) {
    if (sourceOf(conflict) === "cqrs") throw conflictError(conflict, files);
    const repair = repairOf(conflict, names);
    if (repair.kind === "renumber") names.push(repair.name);
    repairs.push(repair);
  }
  for (const { source, name, checksum, progress } of applied) {
    const file = files.find((one) => one.source === source && one.name === name);
    if (progress === null || file === undefined) continue;
    const now = progressChecksum(await prepareFile(file, placeholdersFor(database)), progress.statements);
    if (now !== checksum) repairs.push({ kind: "accept", file, checksum: now, statements: progress.statements });
  }
  return repairs;
}

function repairOf(conflict: SchemaConflict, names: readonly string[]): Repair {
  switch (conflict.kind) {
    case "edited":
      return { kind: "accept", file: conflict.file, checksum: conflict.file.checksum };
    case "renamed":
      return { kind: "rename", file: conflict.file, earlierName: titleOf(conflict.entry) };
    case "missing":
      return { kind: "forget", title: titleOf(conflict.entry), entry: conflict.entry };
    case "out-of-order":
      return renumber(conflict.file, names);
  }
}

/** @returns the migrations whose number another one has, without the one that keeps it: the first that was applied */
function findSameNumbers(files: readonly SchemaFile[], applied: readonly LedgerEntry[]): SchemaFile[] {
  const migrations = files.filter(({ source, kind }) => source === "app" && kind === "migration");
  const isApplied = (file: SchemaFile) => entryOf(file, applied) !== undefined;
  const inOrder = [...migrations.filter(isApplied), ...migrations.filter((file) => !isApplied(file))];
  const keepers = new Map<string | undefined, SchemaFile>();
  for (const file of inOrder) if (!keepers.has(numberOf(file.name))) keepers.set(numberOf(file.name), file);
  return migrations.filter((file) => !isApplied(file) && keepers.get(numberOf(file.name)) !== file);
}

function renumber(file: SchemaFile, names: readonly string[]): Repair & { readonly kind: "renumber" } {
  const [, words] = /^migrations\/\d{4}(.*)$/.exec(file.name) ?? [];
  return { kind: "renumber", file, name: `migrations/${nextNumber(names)}${words}` };
}

/** The ledger first: a file that was renamed, while the ledger was not, would be found by the next run. */
async function perform(sql: Sql, repairs: readonly Repair[]): Promise<void> {
  await inTransaction(sql, async (tx) => {
    await tx.unsafe(`set local role ${groupRoles.owner}`);
    for (const repair of repairs) await changeLedger(tx, repair);
  });
  for (const repair of repairs) {
    if (repair.kind !== "renumber") continue;
    await rename(repair.file.path, join(dirname(repair.file.path), repair.name.slice("migrations/".length)));
  }
}

async function changeLedger(tx: Sql, repair: Repair): Promise<void> {
  if (repair.kind === "renumber") return;
  const { source, name } = repair.kind === "forget" ? repair.entry : repair.file;
  if (repair.kind === "forget") {
    await tx`delete from public.schema_migration where source = ${source} and name = ${name}`;
  } else if (repair.kind === "accept") {
    await tx`
      update public.schema_migration set checksum = ${repair.checksum} where source = ${source} and name = ${name}`;
  } else {
    const earlier = source === "app" ? repair.earlierName.slice("app/".length) : repair.earlierName;
    await tx`update public.schema_migration set name = ${name} where source = ${source} and name = ${earlier}`;
  }
}
