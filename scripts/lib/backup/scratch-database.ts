import { join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import { connectionFailure } from "../postgres/failure.ts";
import { groupRoles, readAdministrator } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { type ApplyOptions, applySchema } from "../schema/apply.ts";
import { type CatalogFingerprint, compareFingerprints, readFingerprint } from "../schema/fingerprint.ts";
import { optionalName, schemaDir } from "../schema/source.ts";
import { ensureDatabase } from "../stack/database.ts";
import type { RunContext } from "../stack/stack.ts";
import type { ArchivedSchema } from "./archived-schema.ts";
import type { ArchiveContext } from "./lock.ts";
import { dropDatabase, type TemporaryPurpose, temporaryDatabase } from "./swap.ts";

/** A database created from the files of a schema. Disposal drops it, unless it has been renamed. */
export interface ScratchDatabase extends AsyncDisposable {
  readonly target: ConnectionTarget;
  readonly fingerprint: CatalogFingerprint;
}

/**
 * Creates a database from SQL files alone. First drops a database of the same name that an interrupted run left behind.
 *
 * @param schema all of its files are applied, including optional ones
 */
export async function createScratchDatabase(
  context: ArchiveContext,
  purpose: TemporaryPurpose,
  schema: ArchivedSchema,
): Promise<ScratchDatabase> {
  const { maintenance, run } = context;
  const target = { ...context.target, database: temporaryDatabase(context.target.database, purpose) };
  // If this fails because the server is unreachable, the next run drops it.
  const tryToDrop = () => dropScratchDatabase(target).catch(() => {});
  await dropDatabase(maintenance, target.database);
  try {
    await ensureDatabase(maintenance, await readAdministrator(maintenance), target.database);
    const optional = schema.files.filter(({ kind }) => kind === "optional").map(optionalName);
    await applyFiles(context, target, { files: schema.files, optional });
    await createApplicationObjects(target, schema.applicationSql, run);
    return { target, fingerprint: await readFingerprintOf(target, run), [Symbol.asyncDispose]: tryToDrop };
  } catch (error) {
    await tryToDrop();
    throw error;
  }
}

/** Opens a new connection, because a signal may have closed the others. */
async function dropScratchDatabase(target: ConnectionTarget): Promise<void> {
  await using connection = await connectForMaintenance(target, { applicationName: "cqrs-postgres clean up" });
  await dropDatabase(connection.sql, target.database);
}

/**
 * Applies files to a scratch database; the project's own if none are given.
 *
 * @returns the names of the files that were applied
 */
export async function applyFiles(
  { stack, run }: ArchiveContext,
  target: ConnectionTarget,
  files: Pick<ApplyOptions, "files" | "optional"> = {},
): Promise<readonly string[]> {
  const { applied } = await applySchema(target, {
    ...files,
    timeoutMs: stack.config.timeoutMs,
    signal: run.signal,
    onWait: () => {},
    onNotice: (text) => run.reporter.verbose(text),
  });
  return applied;
}

/** Fails if the dump lacks something that its objects need, such as a function that a view calls: that is drift. */
async function createApplicationObjects(target: ConnectionTarget, text: string, { signal }: RunContext): Promise<void> {
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
      message: "The SQL dump of the application's objects cannot create them again",
      why: (error as Error).message,
      fix: `Create them in a migration in ${join(schemaDir, "migrations")}.`,
    });
  }
}

/** Reads the fingerprint of a database. */
export async function readFingerprintOf(target: ConnectionTarget, { signal }: RunContext): Promise<CatalogFingerprint> {
  await using connection = openConnection(target, {
    applicationName: "cqrs-postgres fingerprint",
    role: groupRoles.owner,
    signal,
  });
  return await inTransaction(connection.sql, readFingerprint, "read only");
}

const shownDifferences = 10;

/**
 * Checks that a schema is exactly what its migrations create.
 *
 * @throws {ScriptError} `CATALOG_DRIFT` (exit 4), naming the objects
 */
export function checkNoDrift(expected: CatalogFingerprint, actual: CatalogFingerprint, message: string): void {
  if (expected.hash === actual.hash) return;
  const differences = compareFingerprints(expected, actual);
  const hidden = differences.length - shownDifferences;
  const rest = hidden > 0 ? [`and ${hidden} more`] : [];
  throw new ScriptError({
    code: "CATALOG_DRIFT",
    exitCode: exitCodes.drift,
    message,
    why: [...differences.slice(0, shownDifferences), ...rest].join("\n"),
    fix: `Write a migration in ${join(schemaDir, "migrations")} that makes these changes, or undo them.`,
  });
}
