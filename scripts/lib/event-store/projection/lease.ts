import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "../../postgres/driver.ts";
import { errorCode } from "../../postgres/failure.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import { LeaseLost, type ProjectionRun, type ProjectionStatus } from "./definition.ts";
import { inlineCheckpoint, inlineOwner, lockInline } from "./inline-lock.ts";

/** The right to write the checkpoints of a version, until it is disposed of or lost. */
export interface Lease extends AsyncDisposable {
  /** Fencing token; each new owner gets a higher one. */
  readonly token: bigint;
  readonly status: ProjectionStatus;
  /** The checkpoint of each partition. */
  readonly positions: readonly bigint[];
  /** Aborted when a heartbeat finds another owner. */
  readonly lost: AbortSignal;
}

interface LeaseRow {
  readonly token: bigint;
  readonly status: ProjectionStatus;
}

/**
 * Takes the lease of a version as soon as its owner releases it or it expires.
 *
 * @returns undefined if the run was stopped, or the version is retired or was removed
 */
export async function acquireLease(run: ProjectionRun): Promise<Lease | undefined> {
  let isWaiting = false;
  while (!run.signal.aborted) {
    const taken = await takeLease(run.store.sql, run);
    if (taken !== undefined) return holdLease(run, taken);
    const holder = await findHolder(run);
    if (holder === undefined) return undefined;
    if (!isWaiting) reportWait(run, holder.owner);
    isWaiting = true;
    await sleep(Math.min(run.leaseMs / 4, 1_000), undefined, { signal: run.signal }).catch(() => undefined);
  }
  return undefined;
}

function reportWait({ store, name, version }: ProjectionRun, owner: string | null): void {
  const why = owner === inlineOwner ? "open event stores run it inline" : "another process holds it";
  const message = `waiting for the lease of version ${version} of the projection ${name}: ${why}`;
  store.logger.info(message, { projection: name });
}

/** A lease as it was taken, with the checkpoints that its previous owner committed. */
export type TakenLease = Pick<Lease, "token" | "status" | "positions">;

/**
 * Takes a lease if it is free or expired.
 *
 * It writes the new token to the rows of the checkpoints. This waits for batches that are committing, and reads the
 * checkpoints they wrote; a later batch of the previous owner finds its token outdated. If the version ran inline, it
 * waits for the appends in flight, and begins after the last event that they have handled.
 *
 * Each wait ends after two seconds, so that the caller tries again: new appends queue behind it, and one that an open
 * transaction waits for would never get its turn.
 *
 * @param force take it even from an owner whose lease is valid
 */
export async function takeLease(
  sql: Sql,
  run: Pick<ProjectionRun, "name" | "version" | "owner" | "leaseMs">,
  force = false,
): Promise<TakenLease | undefined> {
  try {
    return await tryTakeLease(sql, run, force);
  } catch (error) {
    if (errorCode(error) === "55P03") return undefined;
    throw error;
  }
}

function tryTakeLease(
  sql: Sql,
  { name, version, owner, leaseMs }: Pick<ProjectionRun, "name" | "version" | "owner" | "leaseMs">,
  force: boolean,
): Promise<TakenLease | undefined> {
  return inTransaction(sql, async (tx) => {
    const isFree = () => tx`
      status <> 'retired'
        and (${force} or owner is null or owner = ${owner} or expires_at < clock_timestamp())`;
    const [known] = await tx`
      select from read_model.projection_version where name = ${name} and version = ${version} and ${isFree()}`;
    if (known === undefined) return undefined;
    await tx`select set_config('lock_timeout', '2s', true)`;
    await lockInline(tx, name);
    const [lease] = await tx<LeaseRow[]>`
      update read_model.projection_version
      set
        owner = ${owner},
        token = token + 1,
        heartbeat_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => ${leaseMs / 1_000}::float8)
      where name = ${name} and version = ${version} and ${isFree()}
      returning token, status`;
    if (lease === undefined) return undefined;
    const rows = await tx<{ partition: number; checkpoint: bigint }[]>`
      update read_model.projection set token = ${lease.token}, checkpoint = ${inlineCheckpoint(tx)}
      where name = ${name} and version = ${version}
      returning partition, checkpoint`;
    await tx`delete from read_model.inline_position where name = ${name} and version = ${version}`;
    const positions = rows.toSorted((one, other) => one.partition - other.partition).map((row) => row.checkpoint);
    return { ...lease, positions };
  });
}

function holdLease(run: ProjectionRun, taken: TakenLease): Lease {
  const lost = new AbortController();
  let isBeating = false;
  const beat = async () => {
    // One that waits for a lock must not be followed by others, which would take all connections.
    if (isBeating) return;
    isBeating = true;
    // An unreachable server proves nothing: if another owner takes over, its token stops our writes.
    const isHeld = await sendHeartbeat(run, taken.token).catch(() => true);
    isBeating = false;
    if (!isHeld) lost.abort(new LeaseLost(run));
  };
  const timer = setInterval(() => void beat(), run.leaseMs / 3);
  run.abandoned.addEventListener("abort", () => clearInterval(timer), { once: true });
  return {
    ...taken,
    lost: lost.signal,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await releaseLease(run, taken.token).catch(() => undefined);
    },
  };
}

async function sendHeartbeat({ store, name, version, leaseMs }: ProjectionRun, token: bigint): Promise<boolean> {
  const { count } = await store.sql`
    update read_model.projection_version
    set
      heartbeat_at = clock_timestamp(),
      expires_at = clock_timestamp() + make_interval(secs => ${leaseMs / 1_000}::float8)
    where name = ${name} and version = ${version} and token = ${token}`;
  return count === 1;
}

async function releaseLease({ store, name, version }: ProjectionRun, token: bigint): Promise<void> {
  await store.sql`
    update read_model.projection_version set owner = null, expires_at = null
    where name = ${name} and version = ${version} and token = ${token}`;
}

/** @returns undefined if the version does not exist or is retired */
async function findHolder({ store, name, version }: ProjectionRun): Promise<{ owner: string | null } | undefined> {
  const [row] = await store.sql<{ owner: string | null }[]>`
    select owner from read_model.projection_version
    where name = ${name} and version = ${version} and status <> 'retired'`;
  return row;
}
