import { readDatabaseFacts } from "../archive/database-facts.ts";
import type { DatabaseFacts } from "../archive/manifest.ts";
import { type ArchiveContext, connectToRestore } from "../backup/lock.ts";
import { createEmptyDatabase, makeScratchDatabase, type ScratchDatabase } from "../backup/scratch-database.ts";
import { locked } from "../cli/errors.ts";
import { describeHolder, takeAdvisoryLock } from "../postgres/advisory-lock.ts";
import { readAdministrator } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { applySchema } from "../schema/apply.ts";
import { readLedger } from "../schema/ledger.ts";
import { optionalName, readAllFiles, type SchemaFile } from "../schema/source.ts";
import { ensureDatabase } from "../stack/database.ts";
import { type RunContext, waitLimit } from "../stack/stack.ts";
import { copyTemplate, ensureTemplate, nameTemplate, type Template, templateExists } from "../stack/template.ts";

/** Another process may drop the template just before it is copied. */
const attempts = 3;

/**
 * Makes a database with the schema of all files, and the optional ones that the target has. It is a copy of a template,
 * and its log begins an epoch of its own.
 *
 * @param facts those of the database that is replaced, whose locale it gets
 */
export async function cloneSchema(context: ArchiveContext, facts: DatabaseFacts): Promise<ScratchDatabase> {
  const template = await findTemplate(context, facts);
  const { maintenance } = context;
  const clone = await makeScratchDatabase(context, "resetting", async (name) => {
    for (let attempt = 1; ; attempt++) {
      if (!(await templateExists(maintenance, template.name))) await buildTemplate(context, template, facts);
      if (await copyTemplate(maintenance, template.name, name, "wal_log")) break;
      if (attempt === attempts) throw new Error(`the template ${template.name} was dropped ${attempts} times`);
    }
    await ensureDatabase(maintenance, await readAdministrator(maintenance), name);
  });
  await beginEpoch(clone.target, context.run);
  return clone;
}

/** The files are applied to servers of the same version and to databases of the same locale with the same result. */
async function findTemplate(context: ArchiveContext, { locale }: DatabaseFacts): Promise<Template> {
  const [row] = await context.maintenance<
    { version: string }[]
  >`select current_setting('server_version_num') as version`;
  const optional = await readOptional(context);
  const files = (await readAllFiles(context.stack.config.sqlDir)).filter(
    (file) => file.kind !== "optional" || optional.has(file.name),
  );
  const isNamed = files.some(({ text }) => text.includes(":{database}"));
  const name = isNamed ? context.target.database : "";
  return nameTemplate(files, [row?.version ?? "", JSON.stringify(locale), name]);
}

/** @returns the names of the optional files that the target has */
async function readOptional({ maintenance, target, run }: ArchiveContext): Promise<ReadonlySet<string>> {
  if ((await readDatabaseFacts(maintenance, target.database)) === undefined) return new Set();
  await using connection = connectToRestore(target, run);
  const applied = await readLedger(connection.sql);
  return new Set(applied.map(({ name }) => name).filter((name) => name.startsWith("optional/")));
}

/** Of several processes, one builds it and the others wait. */
async function buildTemplate(context: ArchiveContext, template: Template, facts: DatabaseFacts): Promise<void> {
  const { target, stack, run } = context;
  const options = { applicationName: "cqrs-postgres template", signal: run.signal };
  await using builder = await connectForMaintenance(target, options);
  const lock = await takeAdvisoryLock(builder.sql, { tag: "tmpl", name: template.name }, waitLimit(stack, run));
  if (!lock.isTaken) {
    throw locked(
      "Another process is building the template of this schema",
      `${describeHolder(lock.holder)} held the lock for ${stack.config.timeoutMs} ms.`,
    );
  }
  await ensureTemplate(builder.sql, template, async (name) => {
    run.reporter.info("building the template of this schema, once for these files");
    await createEmptyDatabase({ ...context, maintenance: builder.sql }, name, facts);
    await applyFiles({ ...target, database: name }, template.files, context);
  });
}

async function applyFiles(scratch: ConnectionTarget, files: readonly SchemaFile[], context: ArchiveContext) {
  const { stack, run } = context;
  const { database } = context.target;
  await applySchema(scratch, {
    ...waitLimit(stack, run),
    files,
    database,
    optional: files.filter(({ kind }) => kind === "optional").map(optionalName),
    onWait: (holder) => run.reporter.info(`waiting for ${holder}, which is changing the schema`),
    onBlocked: (text) => run.reporter.info(text),
    onNotice: (text) => run.reporter.warn(text),
  });
}

/** Consumers outside the database have read another log. */
async function beginEpoch(target: ConnectionTarget, run: RunContext): Promise<void> {
  await using connection = connectToRestore(target, run);
  await connection.sql`select event_store.begin_epoch('reset', null, false)`;
}
