import { join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type ConnectionTarget, openConnection, type Sql } from "../postgres/connect.ts";
import { connectionFailure } from "../postgres/failure.ts";
import { groupRoles, readAdministrator } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { applySchema } from "../schema/apply.ts";
import { type CatalogFingerprint, compareFingerprints, readFingerprint } from "../schema/fingerprint.ts";
import { optionalName, type SchemaFile, schemaDir } from "../schema/source.ts";
import { ensureDatabase } from "../stack/database.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import type { ArchivedSchema } from "./archived-schema.ts";
import { dropDatabase, type TemporaryPurpose, temporaryDatabase } from "./swap.ts";

/** A database made from the migrations of a folder; it is dropped when it is disposed of, unless it was renamed. */
export interface ScratchDatabase extends AsyncDisposable {
  readonly target: ConnectionTarget;
  readonly fingerprint: CatalogFingerprint;
}

/**
 * Makes a database from files of SQL alone; what an earlier run left under its name goes first.
 *
 * @param maintenance a session in another database of the server, which holds the archives' lock
 * @param schema all of its files are applied, optional ones too
 */
export async function createScratchDatabase(
  stack: Stack,
  maintenance: Sql,
  target: ConnectionTarget,
  purpose: TemporaryPurpose,
  schema: ArchivedSchema,
  run: RunContext,
): Promise<ScratchDatabase> {
  const name = temporaryDatabase(target.database, purpose);
  const prepared = { ...target, database: name };
  const drop = async () => {
    // A connection of its own: the others may have been ended by a signal.
    await using connection = await connectForMaintenance(target, { applicationName: "cqrs-postgres clean up" });
    await dropDatabase(connection.sql, name);
  };
  // What can't be dropped now, as the server is gone, the next run drops.
  const tryToDrop = () => drop().catch(() => {});
  await dropDatabase(maintenance, name);
  try {
    await ensureDatabase(maintenance, await readAdministrator(maintenance), name);
    await applyAll(prepared, schema.files, stack, run);
    await makeApplication(prepared, schema.application, run);
    return { target: prepared, fingerprint: await fingerprintOf(prepared, run), [Symbol.asyncDispose]: tryToDrop };
  } catch (error) {
    await tryToDrop();
    throw error;
  }
}

async function applyAll(
  target: ConnectionTarget,
  files: readonly SchemaFile[],
  stack: Stack,
  run: RunContext,
): Promise<void> {
  await applySchema(target, {
    files,
    optional: files.filter(({ kind }) => kind === "optional").map(optionalName),
    timeoutMs: stack.config.timeoutMs,
    signal: run.signal,
    onWait: () => {},
    onNotice: (text) => run.reporter.verbose(text),
  });
}

/** What it can't make, such as a view that calls a function of the application's, is drift like what it does not describe. */
async function makeApplication(target: ConnectionTarget, text: string, { signal }: RunContext): Promise<void> {
  if (text === "") return;
  await using connection = openConnection(target, {
    applicationName: "cqrs-postgres schema of the application",
    role: groupRoles.owner,
    searchPath: "pg_catalog",
    signal,
  });
  try {
    await inTransaction(connection.sql, async (tx) => tx.unsafe(text).simple());
  } catch (error) {
    if (connectionFailure(error) !== undefined) throw error;
    throw new ScriptError({
      code: "CATALOG_DRIFT",
      exitCode: exitCodes.drift,
      message: "What the application made can't be made again",
      why: (error as Error).message,
      fix: `Write a migration into ${join(schemaDir, "migrations")} that makes it.`,
    });
  }
}

/** Reads the fingerprint of a database. */
export async function fingerprintOf(target: ConnectionTarget, { signal }: RunContext): Promise<CatalogFingerprint> {
  await using connection = openConnection(target, {
    applicationName: "cqrs-postgres fingerprint",
    role: groupRoles.owner,
    signal,
  });
  return await inTransaction(connection.sql, readFingerprint, "read only");
}

/**
 * Tells whether a schema is what its migrations make.
 *
 * @throws {ScriptError} `CATALOG_DRIFT` (exit 4), naming the objects
 */
export function checkNoDrift(expected: CatalogFingerprint, actual: CatalogFingerprint, message: string): void {
  if (expected.hash === actual.hash) return;
  const differences = compareFingerprints(expected, actual);
  const more = differences.length > 10 ? [`and ${differences.length - 10} more`] : [];
  throw new ScriptError({
    code: "CATALOG_DRIFT",
    exitCode: exitCodes.drift,
    message,
    why: [...differences.slice(0, 10), ...more].join("\n"),
    fix: `Write a migration into ${join(schemaDir, "migrations")} that makes it so, or undo the change.`,
  });
}
