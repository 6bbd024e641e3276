import type { Sql } from "../../postgres/driver.ts";
import { pollUntil } from "../../retry.ts";
import { storedTypes } from "../upcast.ts";
import { attempt, isInstance } from "./attempt.ts";
import { type ProjectionRun, type ProjectionTransaction, type RunFailed, refused } from "./definition.ts";
import { inlineCheckpoint, inlineOwner, lockInline } from "./inline-lock.ts";
import { checkEvents, maxConflicts, readVersions, registrationFailed, tryRegister } from "./version.ts";

/** How long to wait for transactions in flight that may have appended events that the projection has not handled. */
const inFlightMs = 5_000;

/**
 * Makes a version inline: registers it if it is new, and takes its lease for all open event stores.
 *
 * That is safe only if no event that it handles is after its checkpoint, be it stored or in flight. Appends of stores
 * that have made it inline wait for the lock that this holds. So the events of the version are those up to its
 * checkpoint, and those that these stores append.
 *
 * @throws {RunFailed} if the version cannot become inline, and what to do then
 */
export async function makeInline(run: ProjectionRun): Promise<void> {
  let conflicts = 0;
  const [drawn] = await run.store.sql<{ position: bigint }[]>`select event_store.last_drawn_position() as position`;
  const isInline = await pollUntil(
    async () => {
      const outcome = await attempt(run, (tx) => tryMakeInline(tx, run, drawn?.position ?? 0n));
      if (outcome.ok) return true;
      if (isInstance(outcome.error, Unsettled)) return undefined;
      if (outcome.kind !== "conflict" || ++conflicts > maxConflicts) throw registrationFailed(outcome);
      return undefined;
    },
    { timeoutMs: inFlightMs, intervalMs: 20 },
  );
  if (isInline === true) return;
  throw refusal(run, "a transaction in flight may have appended events for it", "Try again once it has ended");
}

/** Another transaction must end first. */
class Unsettled extends Error {}

function refusal({ name, version }: ProjectionRun, why: string, fix: string): RunFailed {
  return refused(`version ${version} of the projection ${name} cannot run inline: ${why}. ${fix}.`);
}

/** @param drawn the position up to which no transaction may be in flight */
async function tryMakeInline(tx: ProjectionTransaction, run: ProjectionRun, drawn: bigint): Promise<void> {
  // Stores that join others need no lock.
  if (await isInline(tx, run)) {
    await ensureServing(tx, run);
    return await checkUnseen(tx, run);
  }
  await tx`select set_config('lock_timeout', '5s', true)`;
  await lockInline(tx, run.name);
  await ensureServing(tx, run);
  await checkFree(tx, run);
  const isSettled = await areSettled(tx, drawn);
  await checkUnseen(tx, run);
  if (!isSettled) throw new Unsettled();
  const { name, version, leaseMs } = run;
  await tx`
    update read_model.projection_version
    set
      owner = ${inlineOwner},
      token = token + 1,
      heartbeat_at = clock_timestamp(),
      expires_at = clock_timestamp() + make_interval(secs => ${leaseMs / 1_000}::float8)
    where name = ${name} and version = ${version}`;
  await tx`update read_model.projection set token = token + 1 where name = ${name} and version = ${version}`;
}

async function ensureServing(tx: ProjectionTransaction, run: ProjectionRun): Promise<void> {
  const rows = await readVersions(tx, run);
  const known = rows.find(({ version }) => version === run.version);
  const serving = rows.find(({ status }) => status === "serving");
  if (known?.status === "retired") throw refusal(run, "a later version has replaced it", upgradeFix);
  if (serving !== undefined && serving.version > run.version) {
    throw refusal(run, `version ${serving.version} serves`, upgradeFix);
  }
  if (known?.status === "building" || (serving !== undefined && serving !== known)) {
    throw refusal(run, `version ${serving?.version} still serves`, "Run it with project() until it serves");
  }
  if (known !== undefined) return await checkEvents(tx, run, known);
  if ((await tryRegister(tx, run)) !== "serving") throw new Unsettled();
}

const upgradeFix = "Deploy its current definition";

/** Whether it is inline in another store that is open. */
async function isInline(tx: Sql, { name, version }: ProjectionRun): Promise<boolean> {
  const rows = await tx`
    select from read_model.projection_version
    where name = ${name} and version = ${version} and owner = ${inlineOwner} and expires_at >= clock_timestamp()`;
  return rows.length > 0;
}

/** @throws {RunFailed} if a run of `project()` holds the lease, or if there are dead letters */
async function checkFree(tx: Sql, run: ProjectionRun): Promise<void> {
  const { name, version } = run;
  const [row] = await tx<{ owner: string | null; isHeld: boolean; hasDeadLetters: boolean }[]>`
    select
      owner,
      owner <> ${inlineOwner} and expires_at >= clock_timestamp() as "isHeld",
      exists (
        select from read_model.dead_letter as letter where letter.name = known.name and letter.version = known.version
      ) as "hasDeadLetters"
    from read_model.projection_version as known
    where name = ${name} and version = ${version}`;
  if (row?.isHeld) throw refusal(run, `project() runs it (${row.owner})`, "Stop that run once it has caught up");
  if (row?.hasDeadLetters) throw refusal(run, "it has dead letters", "Replay them first");
}

/**
 * Whether all other transactions have ended that had drawn positions when the attempt to become inline began. Each
 * publishes a lower bound of its positions as a lock (`event_store.publish_floor`).
 */
async function areSettled(tx: Sql, drawn: bigint): Promise<boolean> {
  const rows = await tx`
    select from pg_catalog.pg_locks
    where locktype = 'advisory' and objsubid = 1 and classid::bigint >> 16 = 229
      and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
      and ((classid::bigint & 65535) << 32 | objid::bigint) < ${drawn}
      and pid is distinct from pg_catalog.pg_backend_pid()
    limit 1`;
  return rows.length === 0;
}

/**
 * This is one statement: if the version is inline, an event and the position up to which it is handled become visible
 * together.
 *
 * @throws {RunFailed} if the log has events for the version that it has not handled
 */
async function checkUnseen(tx: Sql, run: ProjectionRun): Promise<void> {
  const { name, version } = run;
  const events = storedTypes(run.store.upcasters, run.events);
  // Without an "or", the index on types and positions serves it, however long the log is.
  const ofTypes = tx`
    and event_type = any (array(select jsonb_array_elements_text(${JSON.stringify(events ?? [])}::text::jsonb)))`;
  const [row] = await tx<{ count: number }[]>`
    select count(*)::integer as count
    from (
      select from event_store.domain_event
      where global_position > (
        select min(${inlineCheckpoint(tx)}) from read_model.projection where name = ${name} and version = ${version}
      )
        ${events === undefined ? tx`` : ofTypes}
      limit 1000
    ) as unseen`;
  const count = row?.count ?? 0;
  if (count === 0) return;
  const amount = count === 1000 ? "1000 or more events" : count === 1 ? "1 event" : `${count} events`;
  throw refusal(
    run,
    `it has not handled ${amount} in the log`,
    "Run it with project() until it has caught up, and stop",
  );
}
