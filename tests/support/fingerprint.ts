import { createHash } from "node:crypto";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { catalogQueries } from "./fingerprint-queries.ts";

/** Identifies everything that was created in a database, apart from its data. */
export interface CatalogFingerprint {
  /** sha-256 of all objects, in hexadecimal. */
  readonly hash: string;
  /** One digest per object, by kind and name: `table event_store.domain_event`. */
  readonly objects: Readonly<Record<string, string>>;
}

interface CatalogRow {
  readonly kind: string;
  readonly name: string;
  readonly definition: string;
}

/**
 * Reads the fingerprint of a database. It depends only on the schema, not on how the schema was created.
 *
 * Leaves out the versions and objects of extensions, and everything outside users' schemas.
 *
 * @param tx a transaction; changes its search path until it ends, because the catalog qualifies names accordingly
 */
export async function readFingerprint(tx: Sql): Promise<CatalogFingerprint> {
  await tx`select pg_catalog.set_config('search_path', 'pg_catalog', true)`;
  const objects: [string, string][] = [];
  for (const query of catalogQueries) {
    const rows = await tx.unsafe<CatalogRow[]>(query);
    for (const { kind, name, definition } of rows) objects.push([`${kind} ${name}`, digest(definition)]);
  }
  objects.sort(([a], [b]) => (a < b ? -1 : 1));
  return { hash: digest(JSON.stringify(objects)), objects: Object.fromEntries(objects) };
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
