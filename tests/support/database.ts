import { randomUUID } from "node:crypto";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { readAdministrator } from "../../scripts/lib/postgres/logins/roles.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { ensureDatabase } from "../../scripts/lib/stack/database.ts";
import { sharedStack } from "./stack.ts";

/** A database for one test. Disposing of it drops the database. */
export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  /** The stack directory of its cluster. */
  readonly stackDir: string;
  /** The superuser, for this database. */
  readonly administrator: ConnectionTarget;
  /** The application's login, for this database. */
  readonly application: ConnectionTarget & { readonly password: string };
  /** A pool of the application's login. */
  readonly sql: Sql;
  /** A pool of the superuser. */
  readonly admin: Sql;
}

const poolEndSeconds = 0.5;

/**
 * Clones the bootstrapped database of the lane's cluster.
 *
 * @param options.isEmpty creates a database without a schema instead
 */
export async function withDatabase(options: { readonly isEmpty?: boolean } = {}): Promise<TestDatabase> {
  const stack = await sharedStack();
  const shared = await stack.administrator();
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  await using maintenance = openConnection({ ...shared, database: "postgres" });
  if (options.isEmpty !== true) {
    const template = quoteIdentifier(shared.database);
    await maintenance.sql.unsafe(`create database ${quoteIdentifier(name)} template ${template} strategy file_copy`);
  }
  await ensureDatabase(maintenance.sql, await readAdministrator(maintenance.sql), name);
  const administrator = { ...shared, database: name };
  const application = { ...(await stack.application()), database: name };
  const [pool, adminPool] = [openConnection(application, { max: 4 }), openConnection(administrator, { max: 4 })];
  if (options.isEmpty !== true) await adminPool.sql`select event_store.begin_epoch('clone for a test', null, false)`;
  return {
    name,
    stackDir: stack.stackDir,
    administrator,
    application,
    sql: pool.sql,
    admin: adminPool.sql,
    async [Symbol.asyncDispose]() {
      // If its sessions were terminated, for example by a restore, the driver waits until the timeout.
      for (const { sql } of [pool, adminPool]) await sql.end({ timeout: poolEndSeconds });
      await using closing = openConnection({ ...shared, database: "postgres" });
      await closing.sql.unsafe(`drop database if exists ${quoteIdentifier(name)} with (force)`);
      await stack[Symbol.asyncDispose]();
    },
  };
}

class RolledBack extends Error {}

/** Runs a test in a transaction that is always rolled back. */
export async function withTransaction(sql: Sql, work: (tx: Sql) => Promise<void>): Promise<void> {
  try {
    await sql.begin(async (tx) => {
      await work(tx as unknown as Sql);
      throw new RolledBack();
    });
  } catch (error) {
    if (!(error instanceof RolledBack)) throw error;
  }
}
