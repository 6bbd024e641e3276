import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import { findPostmaster } from "../../postgres/server/postmaster.ts";
import { readStartFailure } from "../../postgres/server/start-failure.ts";
import type { Stack } from "../../stack/stack.ts";
import { bootstrapRepair, type DoctorContext, type Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Whether the server is up and lets the administrator in. */
export const serverProbe: Probe = { area: "server", find: findServerProblems };

async function findServerProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const stack = await context.stack();
  try {
    await context.server();
    return [];
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return await explain(context, stack, error);
  }
}

/** Other areas explain these. */
const explainedElsewhere = ["OTHER_CLUSTER", "CLUSTER_GONE", "CLUSTER_SHARED"];

async function explain(context: DoctorContext, stack: Stack, error: ScriptError): Promise<Finding[]> {
  const { code, message, why = message, fix = "" } = error;
  const isPasswordOfVolume = code === "AUTHENTICATION" && stack.mode === "compose";
  if (isPasswordOfVolume || explainedElsewhere.includes(code)) throw error;
  if (code === "NOT_RUNNING") return await findStopped(context, stack, error);
  const general = { cause: `${message}.`, evidence: why, fix };
  if (code === "SERVER_VERSION") return [{ ...general, id: "server-unsupported", symptom: "cannot-connect" }];
  if (code === "NO_DATABASE") return [databaseMissing(stack, why)];
  if (code === "AUTHENTICATION" && stack.mode === "embedded") return [administratorRefused(why)];
  if (code !== "NOT_READY") return [{ ...general, id: "server-unusable", symptom: "cannot-connect" }];
  if (why.includes("53300")) return [connectionsExhausted(why)];
  return [await unreachable(stack, why)];
}

async function findStopped(context: DoctorContext, { mode, dataDir }: Stack, error: ScriptError): Promise<Finding[]> {
  if (mode !== "embedded") return [serverStopped(context, error.why ?? error.message)];
  const failure = await readStartFailure(dataDir);
  if (failure !== undefined && !isTemporary.test(failure)) return [await startFailed(dataDir, failure)];
  const isExplained = !existsSync(join(dataDir, "PG_VERSION")) || existsSync(join(dataDir, "postmaster.pid"));
  return isExplained ? [] : [serverStopped(context, error.why ?? error.message)];
}

/** Other areas find these, or they are over. */
const isTemporary = /could not bind|pre-existing shared memory|invalid permissions|wrong ownership|Permission denied/;

function serverStopped(context: DoctorContext, evidence: string): Finding {
  return {
    id: "server-stopped",
    symptom: "does-not-start",
    cause: "The server is not running.",
    evidence,
    fix: `Run ${runLine("bootstrap")}, which starts it.`,
    repair: bootstrapRepair(context),
  };
}

async function startFailed(dataDir: string, evidence: string): Promise<Finding> {
  const file = join(dataDir, "postgresql.auto.conf");
  const settings = (await readFile(file, "utf8").catch(() => "")).split("\n").filter((line) => /^[^#]/.test(line));
  const ownSettings =
    settings.length === 0
      ? ""
      : ` If a setting is the cause, remove it from ${file}, which has: ${settings.join("; ")}.`;
  return {
    id: "server-start-failed",
    symptom: "does-not-start",
    cause: "The server exited when it was last started.",
    evidence,
    fix: `Fix what its log reports (${join(dataDir, "log")}), then run ${runLine("bootstrap")}.${ownSettings}`,
  };
}

async function unreachable(stack: Stack, evidence: string): Promise<Finding> {
  const finding = { id: "server-unreachable", symptom: "cannot-connect", evidence } as const;
  if (stack.mode !== "embedded") {
    const fix = "Start the server, and check host and port (DATABASE_URL, or PGHOST and PGPORT) and the firewall.";
    return { ...finding, cause: "The server does not answer at the address that is configured.", fix };
  }
  const found = await findPostmaster(stack.dataDir);
  const resume =
    found.state === "running" ? `Run kill -CONT ${found.pid} in case it was suspended. Otherwise run` : "Run";
  const cause = "The server is running, but it does not answer: it is suspended, overloaded or still recovering.";
  return { ...finding, cause, fix: `${resume} ${runLine("stop")} && ${runLine("bootstrap")}.` };
}

function connectionsExhausted(evidence: string): Finding {
  return {
    id: "connections-exhausted",
    symptom: "cannot-connect",
    cause: "All connections of the server are in use, even those reserved for superusers.",
    evidence,
    fix: "Stop an application, then run this again, which then shows who holds them. Or raise max_connections.",
  };
}

function databaseMissing({ database }: Stack, evidence: string): Finding {
  return {
    id: "database-missing",
    symptom: "cannot-connect",
    cause: `The server has no database ${database}.`,
    evidence,
    fix:
      `If it was dropped, run ${runLine("restore latest")}. If the name is wrong, set POSTGRES_DB or --database. ` +
      `For a new, empty one, run ${runLine("bootstrap")}.`,
  };
}

/** Only advice: the fix restarts the server, while only the superuser is locked out. */
function administratorRefused(evidence: string): Finding {
  return {
    id: "administrator-refused",
    symptom: "secrets",
    cause: "The server refuses the superuser's password in the secret store: the data directory has another one.",
    evidence,
    fix: `Run ${runLine("bootstrap")}, which sets the password of the store. It restarts the server: all sessions end.`,
  };
}
