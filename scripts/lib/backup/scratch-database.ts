import { localeClause, readDatabaseFacts } from "../archive/database-facts.ts";
import type { DatabaseFacts } from "../archive/manifest.ts";
import { isFromServer } from "../postgres/failure.ts";
import { groupRoles, readAdministrator } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { applySchema } from "../schema/apply.ts";
import { readAllFiles } from "../schema/source.ts";
import { ensureDatabase } from "../stack/database.ts";
import type { ArchiveContext } from "./lock.ts";
import { dropDatabase, type TemporaryPurpose, temporaryDatabase } from "./swap.ts";

/** A new database. Disposal drops it, unless it has been renamed. */
export interface ScratchDatabase extends AsyncDisposable {
  readonly target: ConnectionTarget;
}

/**
 * Creates a database without objects.
 *
 * @param facts those of the database that is replaced, whose locale it gets
 */
export function createScratchDatabase(
  context: ArchiveContext,
  purpose: TemporaryPurpose,
  facts: DatabaseFacts,
): Promise<ScratchDatabase> {
  return makeScratchDatabase(context, purpose, (name) => createEmptyDatabase(context, name, facts));
}

/** Makes a database. First drops one of the same name that an interrupted run left behind. */
export async function makeScratchDatabase(
  { maintenance, target: { database, ...server } }: ArchiveContext,
  purpose: TemporaryPurpose,
  make: (name: string) => Promise<void>,
): Promise<ScratchDatabase> {
  const target = { ...server, database: temporaryDatabase(database, purpose) };
  // If this fails because the server is unreachable, the next run drops it.
  const tryToDrop = () => dropScratchDatabase(target).catch(() => {});
  await dropDatabase(maintenance, target.database);
  try {
    await make(target.database);
    return { target, [Symbol.asyncDispose]: tryToDrop };
  } catch (error) {
    await tryToDrop();
    throw error;
  }
}

/** Creates a database without objects, with the owner and the privileges of an application's database. */
export async function createEmptyDatabase(context: ArchiveContext, name: string, facts: DatabaseFacts): Promise<void> {
  await createWithLocale(context, name, facts);
  await ensureDatabase(context.maintenance, await readAdministrator(context.maintenance), name);
}

/** Only a locale that is not the server's default needs this; a database that cannot be created so gets the default. */
async function createWithLocale({ maintenance, run }: ArchiveContext, database: string, facts: DatabaseFacts) {
  const template = await readDatabaseFacts(maintenance, "template0");
  const locale = template === undefined ? "" : localeClause(facts, template);
  if (locale === "") return;
  const create = `create database ${quoteIdentifier(database)} with owner ${groupRoles.owner} template template0`;
  try {
    await maintenance.unsafe(`${create} encoding 'UTF8' ${locale}`);
  } catch (error) {
    if (!isFromServer(error)) throw error;
    run.reporter.warn(`the new database gets this server's locale: ${(error as Error).message}`);
  }
}

/** Opens a new connection, because a signal may have closed the others. */
async function dropScratchDatabase(target: ConnectionTarget): Promise<void> {
  await using connection = await connectForMaintenance(target, { applicationName: "cqrs-postgres clean up" });
  await dropDatabase(connection.sql, target.database);
}

/**
 * Applies the project's migrations and routines that a restored database lacks.
 *
 * @returns the names of the files that were applied
 */
export async function applyNewFiles(
  { stack, run, target: { database } }: ArchiveContext,
  target: ConnectionTarget,
): Promise<readonly string[]> {
  const { applied } = await applySchema(target, {
    files: await readAllFiles(stack.config.sqlDir),
    database,
    timeoutMs: stack.config.timeoutMs,
    signal: run.signal,
    onWait: () => {},
    onNotice: (text) => run.reporter.verbose(text),
  });
  return applied;
}
