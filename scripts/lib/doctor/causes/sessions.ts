import { formatSeconds } from "../../cli/format.ts";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { Sql } from "../../postgres/driver.ts";
import { runProcessSync } from "../../process.ts";
import { secretPaths } from "../../secrets/application-secret.ts";
import { freeSessions, type Room, readRoom } from "../../verify/credentials.ts";
import { findHeldLog } from "../../verify/server.ts";
import { type DoctorContext, onOwnServer, type Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Sessions that keep others from connecting, reading or writing. */
export const sessionsProbe: Probe = { area: "sessions", find: findSessionProblems };

async function findSessionProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const { sql } = await context.server();
  return [
    ...(await findExhausted(context, sql)),
    ...(await findHolders(context, sql)),
    ...(await findBlockers(context, sql)),
  ];
}

async function findExhausted(context: DoctorContext, sql: Sql): Promise<Finding[]> {
  const stack = await context.stack();
  const secret = await stack.secrets.read(secretPaths.application).catch(() => undefined);
  const login = secret?.data["username"] ?? stack.user;
  const room = await readRoom(sql, login);
  if (freeSessions(room) > 0) return [];
  const { cause, fix } = whatIsFull(room, login, stack.database);
  return [{ id: "connections-exhausted", symptom: "cannot-connect", cause, fix, evidence: await listHolders(sql) }];
}

function whatIsFull(room: Room, login: string, database: string): Pick<Finding, "cause" | "fix"> {
  const close = "Close sessions that are not needed (select pg_terminate_backend(<pid>)), or";
  if (room.used >= room.allowed)
    return {
      cause: `All ${room.allowed} connections that applications may open are in use.`,
      fix: `${close} run alter system set max_connections = ${room.allowed * 2} and restart the server.`,
    };
  const [kind, name] =
    room.loginLimit >= 0 && room.usedByLogin >= room.loginLimit ? ["role", login] : ["database", database];
  return {
    cause: `The ${kind} ${name} has as many connections as its limit allows.`,
    fix: `${close} run alter ${kind} "${name}" connection limit -1.`,
  };
}

const shownHolders = 5;

async function listHolders(sql: Sql): Promise<string> {
  const rows = await sql<{ holder: string; count: number; idle: number }[]>`
    select concat_ws(' ', usename, '(' || nullif(application_name, '') || ')', 'from', coalesce(host(client_addr), 'here'))
        as holder,
      count(*)::int as count, (count(*) filter (where state = 'idle'))::int as idle
    from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
    group by usename, application_name, client_addr order by 2 desc, 1 limit ${shownHolders}`;
  return rows.map(({ holder, count, idle }) => `${count} connections of ${holder}, ${idle} of them idle`).join("\n");
}

async function findHolders({ limits }: DoctorContext, sql: Sql): Promise<Finding[]> {
  const problems = await findHeldLog(sql, limits);
  return problems.map(({ text, fix }) => ({
    id: "log-held",
    symptom: "readers",
    cause: "A transaction has been open for a long time, so readers and projections cannot see the end of the log.",
    evidence: text,
    fix,
  }));
}

interface Blocker {
  /** 0 for a prepared transaction. */
  readonly pid: number;
  readonly who: string | null;
  readonly state: string | null;
  readonly clientPort: number | null;
  /** When the session began, in seconds; a later session may have the same pid. */
  readonly startedAt: string | null;
  readonly waiting: number;
  readonly seconds: number;
}

/** Sessions that hold a lock and do not wait for one themselves. */
async function findBlockers(context: DoctorContext, sql: Sql): Promise<Finding[]> {
  const rows = await sql<Blocker[]>`
    select blocking.pid, activity.state, activity.client_port as "clientPort",
      extract(epoch from activity.backend_start)::text as "startedAt",
      concat_ws(' ', activity.usename, '(' || nullif(activity.application_name, '') || ')') as who,
      count(*)::int as waiting, max(extract(epoch from clock_timestamp() - lock.waitstart))::float8 as seconds
    from pg_locks as lock
    cross join lateral unnest(pg_blocking_pids(lock.pid)) as blocking (pid)
    left join pg_stat_activity as activity on activity.pid = blocking.pid
    where not lock.granted and activity.wait_event_type is distinct from 'Lock'
    group by 1, 2, 3, 4, 5 order by waiting desc, 1`;
  const { target } = await context.server();
  return rows
    .filter(({ seconds }) => seconds >= context.limits.maxBlockedSeconds)
    .map((blocker) => {
      if (blocker.pid === 0) return preparedBlocker(blocker);
      const { clientPort } = blocker;
      const isGone = clientPort !== null && isClientGone(target.port, clientPort);
      return isGone ? deadBlocker(context, blocker) : liveBlocker(blocker);
    });
}

function describe({ pid, who, state, waiting, seconds }: Blocker): string {
  const holder = pid === 0 ? "a prepared transaction" : `pid ${pid}, ${who}, ${state}`;
  return `${holder}: ${waiting} ${waiting === 1 ? "session waits" : "sessions wait"}, for up to ${formatSeconds(seconds)}`;
}

function liveBlocker(blocker: Blocker): Finding {
  const isIdle = blocker.state?.startsWith("idle in transaction") === true;
  return {
    id: "lock-held",
    symptom: "readers",
    cause: isIdle
      ? "A session is idle in a transaction, and holds a lock that others wait for."
      : "A session holds a lock that others wait for.",
    evidence: describe(blocker),
    fix: `End its transaction in the application, or run select pg_terminate_backend(${blocker.pid}).`,
  };
}

function preparedBlocker(blocker: Blocker): Finding {
  return {
    id: "lock-held-by-prepared",
    symptom: "readers",
    cause: "A prepared transaction holds a lock that others wait for.",
    evidence: describe(blocker),
    fix: "See pg_prepared_xacts, then run commit prepared '<gid>' or rollback prepared '<gid>'.",
  };
}

function deadBlocker(context: DoctorContext, blocker: Blocker): Finding {
  const { pid } = blocker;
  return {
    id: "lock-held-by-dead-client",
    symptom: "readers",
    cause: "A session whose client is gone holds a lock that others wait for.",
    evidence: `${describe(blocker)}; its client has closed the connection`,
    fix: `Run select pg_terminate_backend(${pid}).`,
    repair: {
      description: `ends the session of pid ${pid}, whose client is gone`,
      changesStack: true,
      run: async () =>
        await onOwnServer(await context.stack(), context.run, async ({ sql }, target) => {
          if (!isClientGone(target.port, blocker.clientPort ?? 0)) throw sessionOver(pid);
          await endSession(sql, blocker);
        }),
    },
  };
}

/** Ends a session, but not a later one that has got its pid. */
export async function endSession(
  sql: Sql,
  { pid, startedAt, clientPort }: Pick<Blocker, "pid" | "startedAt" | "clientPort">,
): Promise<void> {
  const ended = await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where pid = ${pid} and extract(epoch from backend_start)::text = ${startedAt} and client_port = ${clientPort}`;
  if (ended.length === 0) throw sessionOver(pid);
}

function sessionOver(pid: number): ScriptError {
  return new ScriptError({
    code: "NOT_RUNNING",
    exitCode: exitCodes.notReady,
    message: `The session of pid ${pid} is over, so nothing was ended`,
    fix: `Run ${runLine("doctor")} again.`,
  });
}

/** In /proc/net/tcp: the client has closed the connection, and the server has not. */
const closeWait = "08";

/** @returns whether the client at that port of this machine has closed its connection; false if that is unknown */
function isClientGone(serverPort: number, clientPort: number): boolean {
  const { stdout } = runProcessSync("sh", ["-c", "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true"]);
  const [local, remote] = [serverPort, clientPort].map(
    (port) => `:${port.toString(16).toUpperCase().padStart(4, "0")}`,
  );
  return stdout.split("\n").some((line) => {
    const [, from = "", to = "", state] = line.trim().split(/\s+/);
    return from.endsWith(local ?? "") && to.endsWith(remote ?? "") && state === closeWait;
  });
}
