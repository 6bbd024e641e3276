import type { Sql } from "../../postgres/driver.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import { attempt, type FailedAttempt, isMarked, runCode, transactionEnded } from "./attempt.ts";
import {
  enterVersionSchema,
  type ProjectionRun,
  type ProjectionStatus,
  type ProjectionTransaction,
  RunFailed,
  refused,
} from "./definition.ts";

/** A registered version. */
export interface VersionRow {
  readonly version: number;
  readonly status: ProjectionStatus;
  /** A JSON array; null if an earlier release registered the version. */
  readonly events: string | null;
}

/** A version that is about to be replaced. */
export interface ReplacedVersion {
  readonly version: number;
  /** The token of the lease that was taken from its owner. */
  readonly token: bigint;
}

/**
 * Ensures that a version is registered. A new one starts with checkpoints at the beginning of the log and with new
 * tables: in `read_model` if no version serves yet, or else in `read_model_next`, after dropping those of an abandoned
 * build.
 *
 * @returns its status; retired if a later version has replaced it
 * @throws {RunFailed} if it is not registered and a later version is, if it is registered with other events, or if it
 * does not create its tables
 */
export async function registerVersion(run: ProjectionRun): Promise<ProjectionStatus> {
  for (let conflicts = 0; ; ) {
    let status: ProjectionStatus | undefined;
    const outcome = await attempt(run, async (tx) => {
      status = await tryRegister(tx, run);
    });
    if (!outcome.ok) {
      if (outcome.kind !== "conflict" || ++conflicts > maxConflicts) throw registrationFailed(outcome);
    } else if (status !== undefined) return status;
  }
}

/** How often a race with the batches of a version that is being abandoned is retried. */
export const maxConflicts = 5;

export function registrationFailed({ kind, error }: FailedAttempt): RunFailed {
  return new RunFailed(kind === "misfit" ? kind : "failed", error);
}

/** @returns undefined if a version that is being built began to serve concurrently */
export async function tryRegister(
  tx: ProjectionTransaction,
  run: ProjectionRun,
): Promise<ProjectionStatus | undefined> {
  const isOurs = ({ version }: VersionRow) => version === run.version;
  let known = (await readVersions(tx, run)).find(isOurs);
  if (known === undefined) {
    // Two new versions would create the same tables.
    await tx`
      select pg_catalog.pg_advisory_xact_lock(${registrationLock}, pg_catalog.hashtext(${run.name}))`;
    const rows = await readVersions(tx, run);
    known = rows.find(isOurs);
    if (known === undefined) return await registerNew(tx, run, rows);
  }
  await checkEvents(tx, run, known);
  return known.status;
}

/** The first half of an advisory lock, as it is shown in pg_locks: "prjv" in ASCII. */
const registrationLock = 0x70_72_6a_76;

export async function readVersions(tx: Sql, { name }: ProjectionRun): Promise<readonly VersionRow[]> {
  return await tx<VersionRow[]>`
    select version, status, to_jsonb(events)::text as events
    from read_model.projection_version where name = ${name}`;
}

async function registerNew(
  tx: ProjectionTransaction,
  run: ProjectionRun,
  rows: readonly VersionRow[],
): Promise<ProjectionStatus | undefined> {
  const { name, version, partitions, relations } = run;
  const newest = Math.max(...rows.filter((row) => row.status !== "retired").map((row) => row.version));
  if (newest > version) throw refused(`version ${version} of the projection ${name} is older than version ${newest}`);
  for (const row of rows.filter((row) => row.status === "building")) {
    // It may have begun to serve in the meantime.
    if (!(await abandonBuild(tx, name, row.version))) return undefined;
  }
  const status = rows.some((row) => row.status === "serving") ? "building" : "serving";
  const inserted = await tx`
    insert into read_model.projection_version (name, version, partition_count, status, relations, events, served_at)
    select
      ${name}, ${version}, ${partitions}, ${status},
      array(select jsonb_array_elements_text(${JSON.stringify(relations?.names ?? [])}::text::jsonb)),
      array(select jsonb_array_elements_text(${JSON.stringify(run.events ?? [])}::text::jsonb)),
      case when ${status} = 'serving' then current_timestamp end
    on conflict do nothing`;
  if (inserted.count === 0) return undefined;
  await insertPartitions(tx, run, 0n, 0n);
  await createRelations(tx, run, status);
  return status;
}

/**
 * The checkpoint says that all events of the listed types are projected up to there, which is not true of another list.
 *
 * @throws {RunFailed} if the list has changed
 */
export async function checkEvents(tx: Sql, run: ProjectionRun, known: VersionRow): Promise<void> {
  const { name, version } = run;
  if (known.status === "retired") return;
  const events = new Set(run.events ?? []);
  if (known.events === null) {
    await tx`
      update read_model.projection_version
      set events = array(select jsonb_array_elements_text(${JSON.stringify([...events])}::text::jsonb))
      where name = ${name} and version = ${version} and events is null`;
    return;
  }
  const [before, now] = [describeEvents(new Set<string>(JSON.parse(known.events))), describeEvents(events)];
  if (before === now) return;
  throw refused(
    `version ${version} of the projection ${name} began with ${before}, but now handles ${now}: ` +
      "raise its version, so that it handles the stored events too",
  );
}

function describeEvents(events: ReadonlySet<string>): string {
  return events.size === 0
    ? "all events"
    : `the events ${[...events]
        .toSorted()
        .map((type) => `"${type}"`)
        .join(", ")}`;
}

/** Creates the checkpoints of a version's partitions, all at one position. */
async function insertPartitions(tx: Sql, run: ProjectionRun, position: bigint, token: bigint): Promise<void> {
  await tx`
    insert into read_model.projection (name, version, partition, checkpoint, token)
    select ${run.name}, ${run.version}, partition, ${position}, ${token}
    from generate_series(0, ${run.partitions - 1}::integer) as partition`;
}

/**
 * Repartitions the streams. All partitions must be at the same position.
 *
 * @returns false if the lease is lost
 */
export function changePartitions(run: ProjectionRun, position: bigint, token: bigint): Promise<boolean> {
  const { name, version } = run;
  return inTransaction(run.store.sql, async (tx) => {
    const { count } = await tx`
      update read_model.projection_version set partition_count = ${run.partitions}
      where name = ${name} and version = ${version} and token = ${token}`;
    if (count === 0) return false;
    await tx`delete from read_model.projection where name = ${name} and version = ${version}`;
    await insertPartitions(tx, run, position, token);
    return true;
  });
}

async function createRelations(tx: ProjectionTransaction, run: ProjectionRun, status: ProjectionStatus): Promise<void> {
  if (run.relations === undefined) return;
  const { create, names } = run.relations;
  await enterVersionSchema(tx, run, status);
  await runCode(run, tx, () => create.call(run.relations, tx));
  if (!(await isMarked(tx))) throw transactionEnded(run);
  const schema = status === "building" ? "read_model_next" : "read_model";
  const found = new Set((await findRelations(tx, schema, names)).map(({ name }) => name));
  const missing = names.filter((name) => !found.has(name));
  if (missing.length === 0) return;
  throw refused(`the projection ${run.name} did not create ${missing.join(", ")} in ${schema}`);
}

interface Relation {
  readonly name: string;
  /** The word in `drop table`, `drop view` and so on. */
  readonly kind: string;
}

/** @returns the relations that exist, in the given order */
export async function findRelations(tx: Sql, schema: string, names: readonly string[]): Promise<readonly Relation[]> {
  const rows = await tx<Relation[]>`
    select
      relname as name,
      case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end as kind
    from pg_catalog.pg_class
    where relnamespace = ${schema}::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')`;
  return names.flatMap((name) => rows.find((row) => row.name === name) ?? []);
}

export async function dropRelations(tx: Sql, schema: string, names: readonly string[]): Promise<void> {
  // No cascade: it would silently drop views that others created on these tables.
  for (const { name, kind } of (await findRelations(tx, schema, names)).toReversed()) {
    await tx`drop ${tx.unsafe(kind)} if exists ${tx(schema)}.${tx(name)}`;
  }
}

/** @returns whether the version was still being built; if it serves by now, its tables have another schema */
async function abandonBuild(tx: Sql, name: string, version: number): Promise<boolean> {
  await dropRelations(tx, "read_model_next", await readRelations(tx, name, version));
  return await retireVersion(tx, name, { version, status: "building" });
}

async function readRelations(tx: Sql, name: string, version: number): Promise<readonly string[]> {
  const [row] = await tx<{ relations: string }[]>`
    select to_jsonb(relations)::text as relations
    from read_model.projection_version where name = ${name} and version = ${version}`;
  return JSON.parse(row?.relations ?? "[]");
}

/** A version as it must be found. */
interface ExpectedVersion {
  readonly version: number;
  readonly status: ProjectionStatus;
  /** @default any */
  readonly token?: bigint;
}

/**
 * Retires a version: its owner can no longer write a checkpoint.
 *
 * Its tables must have been dropped before. A batch in flight locks them first and then its checkpoint, so that the
 * other order would lead to a deadlock.
 *
 * @returns false if it has another status or token
 */
async function retireVersion(tx: Sql, name: string, { version, status, token }: ExpectedVersion): Promise<boolean> {
  const { count } = await tx`
    update read_model.projection_version
    set status = 'retired', token = token + 1, owner = null, expires_at = null
    where name = ${name} and version = ${version} and status = ${status}
      and (token = ${token ?? null} or ${token === undefined})`;
  if (count === 0) return false;
  await tx`
    update read_model.projection set token = token + 1 where name = ${name} and version = ${version}`;
  return true;
}

/** @returns the version that readers see; undefined if none serves */
export async function findServingVersion({ store, name }: ProjectionRun): Promise<number | undefined> {
  const [row] = await store.sql<{ version: number }[]>`
    select version from read_model.projection_version where name = ${name} and status = 'serving'`;
  return row?.version;
}

/**
 * Replaces the serving version with the built one, in a single transaction: drops the tables of the old version,
 * moves those of the new one into `read_model`, and retires the old version.
 *
 * @param replaced undefined if none serves
 * @returns false if either lease is lost
 * @throws 55P03 if readers keep the old tables locked, 2BP01 if other objects depend on them
 */
export async function swapVersions(
  run: ProjectionRun,
  token: bigint,
  replaced: ReplacedVersion | undefined,
): Promise<boolean> {
  const { name, version } = run;
  const swap = inTransaction(run.store.sql, async (tx) => {
    // While the swap waits for a lock, new readers queue behind it.
    await tx`select set_config('lock_timeout', '2s', true)`;
    if (replaced !== undefined) {
      await dropRelations(tx, "read_model", await readRelations(tx, name, replaced.version));
      if (!(await retireVersion(tx, name, { ...replaced, status: "serving" }))) throw new SwapUndone();
    }
    for (const relation of await findRelations(tx, "read_model_next", run.relations?.names ?? [])) {
      await tx`alter ${tx.unsafe(relation.kind)} read_model_next.${tx(relation.name)} set schema read_model`;
    }
    const { count } = await tx`
      update read_model.projection_version set status = 'serving', served_at = clock_timestamp()
      where name = ${name} and version = ${version} and token = ${token}`;
    if (count === 0) throw new SwapUndone();
    return true;
  });
  return await swap.catch((error: unknown) => {
    if (error instanceof SwapUndone) return false;
    throw error;
  });
}

class SwapUndone extends Error {}
