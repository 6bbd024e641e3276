import { randomUUID } from "node:crypto";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { readAdministrator } from "../../scripts/lib/postgres/logins/roles.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { ensureDatabase } from "../../scripts/lib/stack/database.ts";
import type { TestStack } from "./stack.ts";

/** A database of a test's own cluster. */
export interface DatabaseClone {
  readonly administrator: ConnectionTarget;
  readonly application: ConnectionTarget & { readonly password: string };
}

/** Clones the bootstrapped database of a cluster. The clone disappears with the cluster. */
export async function cloneDatabase(stack: TestStack): Promise<DatabaseClone> {
  const [administrator, application] = [await stack.administrator(), await stack.application()];
  const database = `test_${randomUUID().replaceAll("-", "")}`;
  await using maintenance = openConnection({ ...administrator, database: "postgres" });
  const template = quoteIdentifier(administrator.database);
  await maintenance.sql.unsafe(`create database ${quoteIdentifier(database)} template ${template}`);
  await ensureDatabase(maintenance.sql, await readAdministrator(maintenance.sql), database);
  await using clone = openConnection({ ...administrator, database });
  await clone.sql`select event_store.begin_epoch('clone for a test', null, false)`;
  return { administrator: { ...administrator, database }, application: { ...application, database } };
}
