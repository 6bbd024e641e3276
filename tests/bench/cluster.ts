import { randomUUID } from "node:crypto";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { readAdministrator } from "../../scripts/lib/postgres/logins/roles.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { applySchema } from "../../scripts/lib/schema/apply.ts";
import type { SchemaFile } from "../../scripts/lib/schema/source.ts";
import { ensureDatabase } from "../../scripts/lib/stack/database.ts";
import { type CostMeter, makeCostMeter } from "../support/benchmark-cost.ts";
import { withCluster } from "../support/stack.ts";

/** The logins of a database. */
export interface BenchDatabase {
  readonly administrator: ConnectionTarget;
  readonly application: ConnectionTarget & { readonly password: string };
}

/** A cluster without background work. It is removed when it is disposed of. */
export interface BenchCluster extends AsyncDisposable {
  readonly stackDir: string;
  /** The administrator's login, for the stack's own database. */
  readonly administrator: ConnectionTarget;
  readonly meter: CostMeter;
  /** Creates a database: with the project's schema, with that of these files, or without any. */
  makeDatabase(contents: "ours" | "empty" | readonly SchemaFile[]): Promise<BenchDatabase>;
  /** Changes settings of the server, for all sessions. */
  configure(settings: Readonly<Record<string, string>>): Promise<void>;
  /** Vacuums every database created here, as autovacuum would have done. */
  vacuum(): Promise<void>;
}

/** Turns off background work, which would distort the measurement it happens to meet. */
const quietSettings = {
  autovacuum: "off",
  checkpoint_timeout: "1d",
  max_wal_size: "32GB",
  log_min_duration_statement: "-1",
};

/** Bootstraps a cluster with the project's configuration, but without background work. */
export async function openBenchCluster(): Promise<BenchCluster> {
  const stack = await withCluster();
  const [administrator, application] = [await stack.administrator(), await stack.application()];
  const maintenance = openConnection({ ...administrator, database: "postgres" });
  const { sql } = maintenance;
  const configure = async (settings: Readonly<Record<string, string>>) => {
    for (const [name, value] of Object.entries(settings)) await sql.unsafe(`alter system set ${name} = '${value}'`);
    await sql`select pg_reload_conf()`;
  };
  await configure(quietSettings);
  const databases: ConnectionTarget[] = [];
  return {
    stackDir: stack.stackDir,
    administrator,
    meter: await makeCostMeter(sql, stack.dataDir),
    configure,
    async makeDatabase(contents) {
      const database = `bench_${randomUUID().replaceAll("-", "")}`;
      const template = contents === "ours" ? administrator.database : "template0";
      // Not file_copy: it makes a checkpoint, after which every database writes full pages to the WAL again.
      await sql.unsafe(`create database ${database} template ${quoteIdentifier(template)} strategy wal_log`);
      if (contents !== "empty") await ensureDatabase(sql, await readAdministrator(sql), database);
      if (Array.isArray(contents)) await applyFiles({ ...administrator, database }, contents);
      databases.push({ ...administrator, database });
      return { administrator: { ...administrator, database }, application: { ...application, database } };
    },
    async vacuum() {
      for (const target of databases) {
        await using connection = openConnection(target);
        await connection.sql`vacuum (analyze)`;
      }
    },
    async [Symbol.asyncDispose]() {
      await maintenance[Symbol.asyncDispose]();
      await stack[Symbol.asyncDispose]();
    },
  };
}

async function applyFiles(target: ConnectionTarget, files: readonly SchemaFile[]): Promise<void> {
  const nothing = () => {};
  const { signal } = new AbortController();
  await applySchema(target, { files, timeoutMs: 60_000, signal, onWait: nothing, onNotice: nothing });
}
