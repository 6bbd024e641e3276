import { createHash } from "node:crypto";
import type { Sql } from "../postgres/connect.ts";
import { catalogQueries } from "./fingerprint-queries.ts";

/** What a database's catalog says of everything that somebody made in it; data is no part of it. */
export interface CatalogFingerprint {
  /** sha-256 over all objects, in hexadecimal. */
  readonly hash: string;
  /** A digest for each object by kind and name: `table event_store.domain_event`. */
  readonly objects: Readonly<Record<string, string>>;
}

interface CatalogRow {
  readonly kind: string;
  readonly name: string;
  readonly definition: string;
}

/**
 * Reads the fingerprint of a database: two databases with the same schema have the same one, however they came to it.
 *
 * Objects of extensions, their versions, and what belongs to no schema of the user are left out.
 *
 * @param tx a transaction; its search path is changed until its end, as the catalog qualifies names by it
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

/**
 * Tells how a database differs from what it should be.
 *
 * @returns a phrase for each object: `table read_model.orders is missing`; empty when there is no difference
 */
export function compareFingerprints(expected: CatalogFingerprint, actual: CatalogFingerprint): string[] {
  const names = new Set([...Object.keys(expected.objects), ...Object.keys(actual.objects)]);
  const differences: string[] = [];
  for (const name of [...names].toSorted()) {
    const [wanted, found] = [expected.objects[name], actual.objects[name]];
    if (wanted === found) continue;
    if (wanted === undefined) differences.push(`${name} was made by no migration`);
    else differences.push(`${name} ${found === undefined ? "is missing" : "is not as its migration made it"}`);
  }
  return differences;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
