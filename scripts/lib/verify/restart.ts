import { runLine } from "../cli/run-line.ts";
import { refuseExternal } from "../operations/stop.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { stopServer } from "../postgres/server/life-cycle.ts";
import { restartServer } from "../stack/compose/life-cycle.ts";
import { startEmbeddedServer } from "../stack/embedded.ts";
import { administratorTarget, lockForRun, type RunContext, type Stack, waitLimit } from "../stack/stack.ts";
import { type Finding, failed, noProblems, skipped } from "./check.ts";

/** What a restart would interrupt. */
export interface RestartPlan {
  readonly port: number;
  /** Sessions of others, which end. */
  readonly sessions: number;
}

export const notRestarted: Finding = skipped(`only ${runLine("verify --restart")} restarts the server`);

/** What must be the same before and after. */
interface Contents {
  /** Up to here, no event can be added any more. */
  readonly position: bigint;
  readonly events: number;
  readonly digest: string;
  readonly files: number;
  readonly startedAt: string;
}

/** @throws {ScriptError} `EXTERNAL` (exit 8), `NOT_RUNNING`, `NOT_READY` (exit 3) */
export async function planRestart(stack: Stack, run: RunContext): Promise<RestartPlan> {
  refuseExternal(stack, "restarted");
  const { port } = await administratorTarget(stack);
  const sessions = await withAdministrator(stack, run, async (sql) => {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid()`;
    return row?.count ?? 0;
  });
  return { port, sessions };
}

/**
 * Restarts the server, and compares what the log contains before and after.
 *
 * @param restart for tests, which lose something meanwhile
 * @throws {ScriptError} if the server does not come back
 */
export async function proveSurvival(
  stack: Stack,
  run: RunContext,
  restart: typeof restartStack = restartStack,
): Promise<Finding> {
  const before = await withAdministrator(stack, run, (sql) => readContents(sql));
  await restart(stack, run);
  const after = await withAdministrator(stack, run, (sql) => readContents(sql, before.position));
  const evidence = `${before.events} events up to position ${before.position}, restarted at ${after.startedAt}`;
  if (after.startedAt === before.startedAt) {
    return failed(
      evidence,
      "The server was not restarted.",
      "Stop and start it with its own tools, and run this again.",
    );
  }
  const problems = [
    ...(after.events === before.events ? [] : [`there are ${after.events} events after the restart`]),
    ...(after.digest === before.digest ? [] : ["the events differ from those before the restart"]),
    ...(after.files === before.files ? [] : [`${after.files} of ${before.files} files of the schema are recorded`]),
  ];
  return noProblems(
    problems,
    evidence,
    `Check the disk and its mount. ${runLine("restore latest")} restores a backup.`,
  );
}

async function restartStack(stack: Stack, run: RunContext): Promise<void> {
  using _lock = await lockForRun(stack, run, "verify --restart");
  run.reporter.info("restarting PostgreSQL");
  if (stack.mode === "compose") return await restartServer(stack, run);
  await stopServer(stack.dataDir, waitLimit(stack, run));
  const step = async (_name: string, work: () => Promise<unknown>) => void (await work());
  await startEmbeddedServer(stack, { ...run, step });
}

async function withAdministrator<Result>(
  stack: Stack,
  run: RunContext,
  work: (sql: Sql) => Promise<Result>,
): Promise<Result> {
  const target = await administratorTarget(stack);
  const settings = { applicationName: "cqrs-postgres verify", searchPath: "pg_catalog", signal: run.signal };
  await using connection = openConnection(target, settings);
  try {
    return await work(connection.sql);
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** @param knownPosition @default the safe position: what is up to there stays the same while applications append */
async function readContents(sql: Sql, knownPosition?: bigint): Promise<Contents> {
  const position = knownPosition ?? (await readSafePosition(sql));
  const [row] = await sql<Contents[]>`
    select count(*)::float8 as events, coalesce(sum(hashtextextended(event::text, 0)::numeric), 0)::text as digest,
      (select count(*)::int from public.schema_migration) as files,
      to_char(pg_postmaster_start_time() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "startedAt"
    from event_store.domain_event as event where global_position <= ${position}`;
  if (row === undefined) throw new Error("an aggregate returned no row");
  return { ...row, position };
}

async function readSafePosition(sql: Sql): Promise<bigint> {
  const [row] = await sql<{ position: bigint }[]>`select event_store.safe_position() as position`;
  return row?.position ?? 0n;
}
