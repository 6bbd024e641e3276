import { connect } from "node:net";
import { formatSeconds } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { ScriptError } from "../cli/script-error.ts";
import { describeLogHolder, readLogHolder } from "../operations/log-holder.ts";
import type { Sql } from "../postgres/driver.ts";
import { hostAndPort } from "../server-url.ts";
import { sharedNote } from "../stack/cluster-problem.ts";
import { readServerIdentity } from "../stack/external.ts";
import { isClusterShared } from "../stack/identity.ts";
import { describeSkew, ownVersion } from "../stack/skew.ts";
import { checkOwnServer, readApplicationSecret } from "../stack/stack.ts";
import { type Finding, failed, noneOf, ok, type Problem, skipped } from "./check.ts";
import type { Check, VerifyContext, VerifyLimits } from "./context.ts";

export const serverChecks: readonly Check[] = [
  { id: "reachable", title: "The server is up and reachable on its port", run: checkReachable },
  { id: "health", title: "The server is healthy", run: checkHealth },
  { id: "version", title: "The versions fit", run: checkVersion },
  { id: "identity", title: "It is the server that the stack remembers", run: checkIdentity },
];

const connectTimeoutMs = 2_000;

/** Uses the address that applications have, which may differ from the administrator's. */
async function checkReachable({ stack, target }: VerifyContext): Promise<Finding> {
  const secret = await readApplicationSecret(stack).catch(ignoreExpected);
  const address = secret === undefined ? target : { host: secret.host, port: Number(secret.port) };
  await checkOwnServer(stack, address);
  const startedAt = performance.now();
  try {
    await connectTo(address);
  } catch (error) {
    const why = `${(error as Error).message}. Applications have this address from the secret.`;
    return failed(hostAndPort(address), why, `Run ${runLine("bootstrap")}, which writes the address to the secret.`);
  }
  const took = Math.max(1, Math.round(performance.now() - startedAt));
  return ok(`${hostAndPort(address)} accepted a connection within ${took} ms`);
}

/** Another check reports why the secret cannot be read. */
function ignoreExpected(error: unknown): undefined {
  if (!(error instanceof ScriptError)) throw error;
  return undefined;
}

async function connectTo({ host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  const socket = connect({ host, port });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.setTimeout(connectTimeoutMs, () => reject(new Error(`no answer within ${connectTimeoutMs} ms`)));
      socket.once("connect", () => resolve()).once("error", reject);
    });
  } finally {
    socket.on("error", () => {});
    socket.destroy();
  }
}

async function checkHealth(context: VerifyContext): Promise<Finding> {
  if (context.isStandby) {
    const fix = "Connect to the primary, or promote this server and begin an epoch (event_store.begin_epoch).";
    return failed("pg_is_in_recovery() is true", "The server is a standby, which accepts no appends.", fix);
  }
  const [row] = await context.sql<{ uptime: number; failures: number }[]>`
    select extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8 as uptime,
      (select coalesce(sum(checksum_failures), 0)::int from pg_stat_database) as failures`;
  const { uptime = 0, failures = 0 } = row ?? {};
  const evidence = `answers queries and takes writes, up for ${formatSeconds(uptime)}, ${failures} wrong checksums`;
  const problems = [
    ...(failures > 0 ? [damagedPages(failures)] : []),
    ...(await findHeldLog(context.sql, context.limits)),
    ...(await findUnhealthyContainer(context)),
  ];
  return noneOf(problems, evidence);
}

function damagedPages(count: number): Problem {
  return {
    text: `${count} pages had a wrong checksum: the disk or memory is damaged`,
    fix: `Run ${runLine("backup")}, then move to another machine.`,
  };
}

/** Finds a transaction that has kept readers from later events for too long. */
export async function findHeldLog(sql: Sql, limits: Pick<VerifyLimits, "maxHeldSeconds">): Promise<Problem[]> {
  const holder = await readLogHolder(sql);
  const since = holder?.since ?? null;
  if (holder === null || since === null) return [];
  const seconds = (Date.now() - Date.parse(since)) / 1000;
  if (seconds < limits.maxHeldSeconds) return [];
  return [
    {
      text: `readers cannot see the end of the log, because a transaction is open: ${describeLogHolder(holder)}`,
      fix:
        holder.gid === null
          ? `End that session (select pg_terminate_backend(${holder.pid})).`
          : `Run commit prepared '${holder.gid}' or rollback prepared '${holder.gid}'.`,
    },
  ];
}

async function findUnhealthyContainer({ stack, container }: VerifyContext): Promise<Problem[]> {
  if (stack.mode !== "compose") return [];
  const { name, health } = await container();
  if (health === "healthy") return [];
  return [
    {
      text: `the container ${name} is ${health}`,
      fix: `Wait until it has started; if it does not, see docker logs ${name}.`,
    },
  ];
}

async function checkVersion({ sql, stack }: VerifyContext): Promise<Finding> {
  const [row] = await sql<{ version: string }[]>`
    select split_part(current_setting('server_version'), ' ', 1) as version`;
  const skew = describeSkew(stack.remembered);
  const evidence = `PostgreSQL ${row?.version}, cqrs-postgres ${ownVersion}`;
  if (!skew?.isOlder) return ok(evidence);
  return failed(evidence, skew.text, "Install the newer version, which knows what it has written.");
}

async function checkIdentity({ sql, stack }: VerifyContext): Promise<Finding> {
  const known = stack.remembered?.cluster?.systemIdentifier;
  const actual = (await readServerIdentity(sql)).cluster?.systemIdentifier;
  if (known === undefined) return skipped("the stack remembers no cluster");
  if (actual === undefined) return skipped("the administrator may not read the system identifier");
  const evidence = `system identifier ${actual}`;
  if (actual !== known) {
    const fix = `Connect to the right server, or run ${runLine("bootstrap")}, which makes this one the stack's.`;
    return failed(evidence, `The last bootstrap set up the server with the system identifier ${known}.`, fix);
  }
  if (stack.mode === "embedded" && (await isClusterShared(stack.dataDir))) {
    return failed(evidence, `${sharedNote}.`, "Delete the other folder.");
  }
  return ok(`${evidence}, as the last bootstrap recorded`);
}
