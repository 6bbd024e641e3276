import { randomUUID } from "node:crypto";
import { chmod, mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { serverDiskFull } from "../../cli/server-error.ts";
import { syncFolder } from "../../durable-file.ts";
import { assetsDir, isClone } from "../../paths.ts";
import { runProcess, runProcessSync } from "../../process.ts";
import { retry } from "../../retry.ts";
import { errorCode } from "../failure.ts";
import { scramVerifier } from "../logins/scram.ts";
import { quoteLiteral } from "../quote.ts";
import { type ServerAccount, serverEnvironment } from "./account.ts";
import { type Binaries, majorVersion } from "./binaries.ts";

/** The superuser of every cluster. */
export const superuser = "postgres";

/** The settings of this server and of the container, in one file. */
const settingsFile = join(assetsDir, "infrastructure/postgres/config/postgresql.conf");
/** In a project, the file is below node_modules, where the next installation overwrites it. */
const howToChange = isClone ? `edit ${settingsFile} instead` : "use ALTER SYSTEM instead of editing this file";

/** 10 seconds in total: how long an initdb may continue to write after its script was killed. */
const removalAttempts = 200;
const removalPauseMs = 50;

/** A cluster, and what is needed to run its server. */
export interface EmbeddedServer {
  readonly dataDir: string;
  readonly binaries: Binaries;
  readonly account: ServerAccount;
  readonly superuserPassword: string;
  /** Lines of `postgresql.conf` that override those of the project. */
  readonly settings?: string;
}

/** What a data directory contains. */
export type ClusterState = "absent" | "initialised";

/**
 * Inspects a data directory without changing it.
 *
 * @throws {ScriptError} `FOREIGN_DATA` (exit 9) if it contains other files, `DATA_VERSION` (exit 9) for a cluster of
 * another major version
 */
export async function inspectCluster(dataDir: string): Promise<ClusterState> {
  const names = await readdir(dataDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  if (names.length === 0) return "absent";
  const version = await readMajorVersion(dataDir);
  if (version !== `${majorVersion}`) throw otherVersion(dataDir, version);
  return "initialised";
}

/**
 * Reads which major version of PostgreSQL created a data directory.
 *
 * @throws {ScriptError} `FOREIGN_DATA` (exit 9) if it contains other files
 */
export async function readMajorVersion(dataDir: string): Promise<string> {
  const version = await readFile(join(dataDir, "PG_VERSION"), "utf8").catch(() => undefined);
  if (version === undefined) throw foreignData(dataDir);
  return version.trim();
}

/**
 * Creates a cluster under a temporary name and renames it when it is complete. Removes what killed runs left behind.
 * Writes only a SCRAM verifier of the password.
 */
export async function initialiseCluster(server: EmbeddedServer): Promise<void> {
  const { dataDir, binaries, account, superuserPassword } = server;
  await removeLeftovers(dataDir);
  const temporary = `${dataDir}.tmp-${randomUUID().slice(0, 8)}`;
  const passwordFile = `${temporary}.verifier`;
  await mkdir(temporary, { recursive: true, mode: 0o700 });
  await account.takeOwnership(temporary);
  try {
    checkReachable(temporary, account);
    await writeFile(passwordFile, `${await scramVerifier(superuserPassword)}\n`, { mode: 0o600 });
    await account.takeOwnership(passwordFile);
    await runProgram(account, binaries.initdb, initdbArguments(temporary, passwordFile));
    await rm(passwordFile);
    await rm(dataDir, { recursive: true, force: true });
    await rename(temporary, dataDir);
    await syncFolder(dirname(dataDir));
  } finally {
    await removeLeftovers(dataDir);
  }
}

/** Removes what killed runs left behind next to the data directory. */
export async function removeLeftovers(dataDir: string): Promise<void> {
  const parent = dirname(dataDir);
  const names = await readdir(parent).catch(() => []);
  for (const name of names.filter((candidate) => candidate.startsWith("data.tmp-"))) {
    await removeFolder(join(parent, name));
  }
}

/** The initdb of a killed run may still be writing; it fails as soon as one of its files is gone. */
async function removeFolder(folder: string): Promise<void> {
  await retry(() => rm(folder, { recursive: true, force: true }), {
    pauseMs: (error, attempt) =>
      errorCode(error) === "ENOTEMPTY" && attempt < removalAttempts ? removalPauseMs : undefined,
  });
}

/** An account that root switches to cannot enter a folder such as root's home. */
function checkReachable(folder: string, account: ServerAccount): void {
  const [program, ...args] = account.command("test", ["-w", folder]);
  const options = { ...account.identity, env: serverEnvironment, cwd: "/" };
  if (runProcessSync(program as string, args, options).exitCode === 0) return;
  throw new ScriptError({
    code: "FOLDER_UNREACHABLE",
    exitCode: exitCodes.prerequisite,
    message: `PostgreSQL, run as ${account.description}, cannot reach ${dirname(folder)}`,
    why: "That user cannot enter a parent folder, and PostgreSQL refuses to run as root.",
    fix: "Set CQRS_STACK_DIR to a folder that all users can enter, such as /srv, or run this as an ordinary user.",
  });
}

function initdbArguments(dataDir: string, passwordFile: string): string[] {
  return [
    `--pgdata=${dataDir}`,
    `--username=${superuser}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale-provider=icu",
    "--icu-locale=und",
    "--locale=C",
    "--data-checksums",
    "--no-instructions",
  ];
}

/**
 * Writes `postgresql.conf`: the settings of the project, then those that only this server needs. Called before each
 * start; a server that is started by hand gets the settings of the last start.
 *
 * @returns a function that restores the previous settings, for use after a failed start
 */
export async function writeSettings(
  { dataDir, account, settings = "" }: EmbeddedServer,
  port: number,
): Promise<() => Promise<void>> {
  const shared = await readFile(settingsFile, "utf8");
  const file = join(dataDir, "postgresql.conf");
  const former = await readFile(file, "utf8").catch(() => undefined);
  await writeFile(file, `# Written by bootstrap; ${howToChange}.\n\n${shared}\n${ownSettings(port)}${settings}`);
  await chmod(file, 0o600);
  await account.takeOwnership(file);
  const logDir = join(dataDir, "log");
  await mkdir(logDir, { recursive: true, mode: 0o700 });
  await account.takeOwnership(logDir);
  return async () => {
    if (former !== undefined) await writeFile(file, former);
  };
}

/** @returns the port of the last start, as in the settings of the cluster; undefined if it was never started */
export async function readConfiguredPort(dataDir: string): Promise<number | undefined> {
  const settings = await readFile(join(dataDir, "postgresql.conf"), "utf8").catch(() => "");
  const port = /^port = (\d+)$/m.exec(settings)?.[1];
  return port === undefined ? undefined : Number(port);
}

/** The socket is in the data directory: its relative path is never too long, and no other user can reach it. */
function ownSettings(port: number): string {
  return `# The embedded server's own settings.
listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '.'
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_file_mode = 0600
`;
}

/** @returns the identifier of the cluster, which is unique, from `pg_control` */
export async function readSystemIdentifier(dataDir: string): Promise<string> {
  await using file = await open(join(dataDir, "global/pg_control"));
  const { buffer } = await file.read(Buffer.alloc(8), 0, 8, 0);
  return buffer.readBigUInt64LE().toString();
}

/**
 * Sets the superuser's password while the server is stopped. Restores access if the secret store has lost the old one.
 */
export async function resetSuperuserPassword(server: EmbeddedServer): Promise<void> {
  const { dataDir, binaries, account, superuserPassword } = server;
  const settings = ["-c", "logging_collector=off", "-c", "log_statement=none", "-c", "log_min_error_statement=panic"];
  const verifier = await scramVerifier(superuserPassword);
  const statement = `alter role ${superuser} with login password ${quoteLiteral(verifier)};\n`;
  await runProgram(account, binaries.postgres, ["--single", "-D", dataDir, ...settings, "postgres"], statement);
}

async function runProgram(account: ServerAccount, program: string, args: readonly string[], input = ""): Promise<void> {
  const [file, ...words] = account.command(program, args);
  const options = { ...account.identity, env: serverEnvironment, cwd: "/", input };
  const { exitCode, signal, stderr } = await runProcess(file as string, words, options);
  const full = exitCode === 0 ? undefined : findDiskFull(stderr);
  if (full !== undefined) throw full;
  if (exitCode !== 0) throw programFailed(program, account, exitCode ?? signal ?? "unknown", stderr);
}

/** @returns the error of a full disk (exit 9), if what PostgreSQL has written says so */
export function findDiskFull(log: string): ScriptError | undefined {
  const line = log.split("\n").findLast((text) => /No space left on device|Disk quota exceeded/.test(text));
  return line === undefined ? undefined : serverDiskFull(line.trim());
}

function programFailed(program: string, account: ServerAccount, code: number | string, errors: string): ScriptError {
  return new ScriptError({
    code: "CLUSTER_FAILED",
    exitCode: exitCodes.prerequisite,
    message: `${program} failed (${code}), run as ${account.description}`,
    why: errors.trim().split("\n").slice(-10).join("\n") || "It printed no error.",
    fix: "Fix the cause, such as permissions or disk space, or set CQRS_STACK_DIR, then run this again.",
  });
}

function foreignData(dataDir: string): ScriptError {
  return new ScriptError({
    code: "FOREIGN_DATA",
    exitCode: exitCodes.prerequisite,
    message: `${dataDir} is not a PostgreSQL data directory`,
    why: "It contains files, but no PG_VERSION. Nothing in it was changed.",
    fix: "Move it elsewhere, or set CQRS_STACK_DIR to another folder.",
  });
}

function otherVersion(dataDir: string, version: string): ScriptError {
  return new ScriptError({
    code: "DATA_VERSION",
    exitCode: exitCodes.prerequisite,
    message: `${dataDir} was created by PostgreSQL ${version}`,
    why: `This is PostgreSQL ${majorVersion}, which cannot read it. Nothing in it was changed.`,
    fix:
      `Dump it with PostgreSQL ${version} (pg_dumpall) and move it elsewhere, ` +
      `set CQRS_STACK_DIR to another folder, or delete it with ${runLine("destroy")} --yes.`,
  });
}
