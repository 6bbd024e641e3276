import { constants } from "node:fs";
import { access, open, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { formatBytes } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { errorCode } from "../postgres/failure.ts";
import { type Finding, failed, noProblems, ok, skipped } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";

export const storageChecks: readonly Check[] = [
  { id: "data-directory", title: "The data directory or volume is the server's own, and writable", run: checkData },
  { id: "disk-space", title: "The disk has free space", run: checkSpace },
  { id: "logs", title: "The server's log is readable", run: checkLogs },
];

const elsewhere = "an external server's files are not on this machine";
const permissionBits = 0o777;

async function checkData(context: VerifyContext): Promise<Finding> {
  const { stack, container } = context;
  if (stack.mode === "external") return skipped(elsewhere);
  if (stack.mode === "embedded") return checkFolder(stack.dataDir);
  const { volume, dataMode, dataOwner, serverUser, isWritable, name } = await container();
  const problems = [
    ...(dataMode === "700" ? [] : [`its mode is 0${dataMode}, not 0700`]),
    ...(dataOwner === serverUser ? [] : [`it belongs to ${dataOwner}, not to ${serverUser}`]),
    ...(isWritable ? [] : [`${serverUser} cannot write to it`]),
  ];
  const fix = `Run docker exec ${name} sh -c 'chown -R postgres "$PGDATA" && chmod 700 "$PGDATA"'`;
  return noProblems(problems, `volume ${volume}, owner ${dataOwner}, mode 0${dataMode}`, fix);
}

/** PostgreSQL writes its pid file when it starts, so that file has the owner that the folder must have. */
async function checkFolder(dataDir: string): Promise<Finding> {
  const [folder, pidFile] = await Promise.all([stat(dataDir), stat(join(dataDir, "postmaster.pid"))]);
  const mode = (folder.mode & permissionBits).toString(8).padStart(4, "0");
  const denial = await access(dataDir, constants.W_OK).then(() => undefined, errorCode);
  if (denial === "EROFS") {
    return failed(`${dataDir}, mode ${mode}`, "Its file system is read-only.", "Mount it writable.");
  }
  const problems = [
    ...(mode === "0700" ? [] : [`its mode is ${mode}, not 0700`]),
    ...(folder.uid === pidFile.uid ? [] : [`it belongs to uid ${folder.uid}, but the server runs as ${pidFile.uid}`]),
    ...(denial === undefined ? [] : ["it is not writable"]),
  ];
  const fix = `Run chown ${pidFile.uid} '${dataDir}' && chmod 700 '${dataDir}'`;
  return noProblems(problems, `${dataDir}, owner ${folder.uid}, mode ${mode}`, fix);
}

async function checkSpace({ stack, container, limits }: VerifyContext): Promise<Finding> {
  if (stack.mode === "external") return skipped(elsewhere);
  const freeBytes = stack.mode === "embedded" ? await readFree(stack.dataDir) : (await container()).freeBytes;
  const evidence = `${freeBytes} bytes (${formatBytes(freeBytes)}) are free`;
  if (freeBytes >= limits.minFreeBytes) return ok(evidence);
  const why = `At least ${formatBytes(limits.minFreeBytes)} are needed. PostgreSQL stops if the disk is full.`;
  return failed(evidence, why, `Free some space. ${runLine("backup prune")} deletes old archives.`);
}

async function readFree(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

async function checkLogs({ stack, container, sql }: VerifyContext): Promise<Finding> {
  if (stack.mode === "external") return skipped(elsewhere);
  if (stack.mode === "compose") {
    const { name, logLine } = await container();
    const show = `docker logs ${name}`;
    return logLine === "" ? failed(show, "It prints nothing.", "Use a logging driver that can be read.") : ok(show);
  }
  const [row] = await sql<{ file: string | null }[]>`select pg_current_logfile() as file`;
  if (row?.file == null) {
    const fix = `Remove logging_collector from postgresql.auto.conf, then run ${restart()}.`;
    return failed("pg_current_logfile() is null", "The server writes no log file.", fix);
  }
  return readLog(join(stack.dataDir, row.file));
}

async function readLog(file: string): Promise<Finding> {
  try {
    await using log = await open(file, "r");
    const { size } = await log.stat();
    return ok(`${file}, ${formatBytes(size)}`);
  } catch (error) {
    const why = `The server writes to it, but it cannot be opened: ${(error as Error).message}.`;
    return failed(file, why, `Run ${restart()}, which opens it again.`);
  }
}

function restart(): string {
  return `${runLine("stop")} && ${runLine("bootstrap")}`;
}
