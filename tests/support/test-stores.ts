import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { findTestServer, openServer, openTestCluster, stopTestCluster } from "../../scripts/lib/testing/test-server.ts";
import { silentRun } from "./stack.ts";

/** A folder for a stack with a test server. Disposing of it stops the server and removes the folder. */
export interface TestServerFolder extends AsyncDisposable {
  readonly stackDir: string;
  /** The data directory of the test server. */
  readonly dataDir: string;
}

export async function makeTestServerFolder(): Promise<TestServerFolder> {
  const stackDir = await realpath(await mkdtemp(join(tmpdir(), "cqrs-testing-")));
  return {
    stackDir,
    dataDir: join(stackDir, "test/postgres/data"),
    async [Symbol.asyncDispose]() {
      await stopTestCluster(await openTestCluster(stackDir), silentRun);
      await rm(stackDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Does work in a session of the test server's superuser. */
export async function asSuperuser<Result>(
  { stackDir }: Pick<TestServerFolder, "stackDir">,
  work: (sql: Sql) => Promise<Result>,
): Promise<Result> {
  const server = await findTestServer(stackDir);
  if (server === undefined) throw new Error(`no test server is running in ${stackDir}`);
  await using connection = await openServer(server);
  return await work(connection.sql);
}

/** @returns the names of databases with a prefix, in order */
export async function databasesLike(folder: Pick<TestServerFolder, "stackDir">, prefix: string): Promise<string[]> {
  const rows = await asSuperuser(
    folder,
    (sql) => sql<{ name: string }[]>`
      select datname as name from pg_database where starts_with(datname, ${prefix}) order by datname`,
  );
  return rows.map(({ name }) => name);
}

/** @returns the pid of the test server */
export async function testServerPid({ dataDir }: Pick<TestServerFolder, "dataDir">): Promise<number> {
  const found = await findPostmaster(dataDir);
  if (found.state !== "running") throw new Error(`no server is running on ${dataDir}`);
  return found.pid;
}
