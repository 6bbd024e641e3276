import type { Sql } from "../../postgres/driver.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import type { EventStore } from "../opened-store.ts";
import type { ProjectionStatus } from "./definition.ts";
import { lockInline } from "./inline-lock.ts";
import { dropRelations, findRelations } from "./version.ts";

/** A version of a projection, and what it consists of. */
export interface StoredVersion {
  readonly version: number;
  readonly status: ProjectionStatus;
  /** Its tables and views, with their schema. */
  readonly relations: readonly string[];
  readonly deadLetters: number;
}

/** What a removal removes. */
export interface Removal {
  readonly versions: readonly StoredVersion[];
}

/** A process runs the projection, so it cannot be removed. */
export class ProjectionRunning extends Error {
  override readonly name = "ProjectionRunning";
  readonly owner: string;

  constructor(name: string, version: number, owner: string) {
    super(`version ${version} of the projection ${name} is running`);
    this.owner = owner;
  }
}

/**
 * @returns what `removeProjection()` would remove
 * @throws {ProjectionRunning} if a run holds the lease of one of the versions
 */
export function planRemoval(store: EventStore, name: string, version?: number): Promise<Removal> {
  return inTransaction(store.sql, async (tx) => describe(await lockVersions(tx, name, version)));
}

/**
 * Removes a projection: its tables, checkpoints, dead letters and versions. The events stay, so it can be built again.
 *
 * @param version only this one; @default all
 * @returns what it has removed
 * @throws {ProjectionRunning} if a run holds the lease of one of the versions; nothing is removed then
 * @throws 2BP01 if other objects depend on the tables
 */
export function removeProjection(store: EventStore, name: string, version?: number): Promise<Removal> {
  return inTransaction(store.sql, async (tx) => {
    const found = await lockVersions(tx, name, version);
    for (const { version, schema, names } of found) {
      await dropRelations(tx, schema, names);
      await tx`delete from read_model.dead_letter where name = ${name} and version = ${version}`;
      await tx`delete from read_model.inline_position where name = ${name} and version = ${version}`;
      await tx`delete from read_model.projection where name = ${name} and version = ${version}`;
      await tx`delete from read_model.projection_version where name = ${name} and version = ${version}`;
    }
    return describe(found);
  });
}

interface LockedVersion extends Omit<StoredVersion, "relations"> {
  readonly schema: string;
  readonly names: readonly string[];
}

interface VersionRow extends Omit<StoredVersion, "relations"> {
  readonly relations: string;
  /** Holder of the lease, if it is valid. */
  readonly owner: string | null;
}

function describe(versions: readonly LockedVersion[]): Removal {
  return {
    versions: versions.map(({ version, status, schema, names, deadLetters }) => {
      return { version, status, relations: names.map((relation) => `${schema}.${relation}`), deadLetters };
    }),
  };
}

/** Locks versions that nobody runs, so that no run takes a lease until the transaction ends. */
async function lockVersions(tx: Sql, name: string, version: number | undefined): Promise<readonly LockedVersion[]> {
  await lockInline(tx, name);
  const rows = await tx<VersionRow[]>`
    select
      version, status, to_jsonb(relations)::text as relations,
      case when expires_at > clock_timestamp() then owner end as owner,
      (
        select count(*)::integer from read_model.dead_letter as letter
        where letter.name = known.name and letter.version = known.version
      ) as "deadLetters"
    from read_model.projection_version as known
    where name = ${name} and (version = ${version ?? null} or ${version === undefined})
    order by version
    for update`;
  const locked: LockedVersion[] = [];
  for (const { relations, owner, ...row } of rows) {
    if (owner !== null) throw new ProjectionRunning(name, row.version, owner);
    const schema = row.status === "building" ? "read_model_next" : "read_model";
    // Those of a retired version are gone; those of the serving one may have the same names.
    const names = row.status === "retired" ? [] : JSON.parse(relations);
    locked.push({ ...row, schema, names: (await findRelations(tx, schema, names)).map((relation) => relation.name) });
  }
  return locked;
}
