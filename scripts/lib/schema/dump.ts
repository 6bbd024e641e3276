import { openConnection } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { describeBlock, splitDump } from "../postgres/pg-dump/blocks.ts";
import { dumpDatabase } from "../postgres/pg-dump/dump.ts";
import type { ConnectionTarget } from "../postgres/target.ts";

/**
 * Dumps the schema of a database as SQL. The result depends only on the schema and on the major version of the server.
 *
 * @throws {ScriptError} as `dumpDatabase()`, and for the errors of the connection
 */
export async function dumpSchema(target: ConnectionTarget, signal: AbortSignal): Promise<string> {
  try {
    const { server, isSuperuser } = await readServer(target, signal);
    const role = isSuperuser ? undefined : groupRoles.owner;
    const dump = await dumpDatabase(target, { server, args: ["--schema-only"], role, signal });
    return dump.replace(/^-- Dumped (from|by) .*\n/gm, "").replaceAll(/\n{3,}(?=--\n-- )/g, "\n\n");
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

async function readServer(target: ConnectionTarget, signal: AbortSignal) {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres schema dump", signal });
  const [row] = await connection.sql<{ server: number; isSuperuser: boolean }[]>`
    select current_setting('server_version_num')::int as server, rolsuper as "isSuperuser"
    from pg_catalog.pg_roles where rolname = current_user`;
  if (row === undefined) throw new Error("unreachable: the current user is a role");
  return row;
}

/** An object that is not what the files create. */
export interface SchemaDifference {
  /** `FUNCTION event_store.safe_position()` */
  readonly object: string;
  readonly difference: "changed" | "missing" | "extra";
}

/** Compares two dumps of one server, object by object. */
export function compareSchemas(expected: string, actual: string): SchemaDifference[] {
  const [wanted, found] = [blocksOf(expected), blocksOf(actual)];
  const differences: SchemaDifference[] = [];
  for (const object of new Set([...wanted.keys(), ...found.keys()])) {
    const [one, other] = [wanted.get(object), found.get(object)];
    if (one === other) continue;
    const difference = one === undefined ? "extra" : other === undefined ? "missing" : "changed";
    differences.push({ object, difference });
  }
  return differences.toSorted((a, b) => (a.object < b.object ? -1 : 1));
}

/**
 * Whether a difference is a fault. Extra objects are those of projections and applications. Operators grant privileges,
 * as for redactions.
 */
export function isWrong({ object, difference }: SchemaDifference): boolean {
  return difference !== "extra" && !/^(DEFAULT )?ACL /.test(object);
}

/** One object can have several blocks, such as the privileges that two roles have granted. */
function blocksOf(dump: string): Map<string, string> {
  const blocks = new Map<string, string>();
  const [, ...objects] = splitDump(dump);
  for (const block of objects) {
    const object = describeBlock(block);
    blocks.set(object, (blocks.get(object) ?? "") + withoutSettings(block.sql));
  }
  return blocks;
}

/** pg_dump sets defaults before the first object that needs them, whichever that is. */
function withoutSettings(sql: string): string {
  return sql.replaceAll(/^SET default_\w+ = .*\n/gm, "").trim();
}
