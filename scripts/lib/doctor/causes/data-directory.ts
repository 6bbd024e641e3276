import { chmod, lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import { errorCode } from "../../postgres/failure.ts";
import { inspectCluster } from "../../postgres/server/cluster.ts";
import { runProcess } from "../../process.ts";
import type { Stack } from "../../stack/stack.ts";
import type { Finding } from "../finding.ts";

/** What initdb creates, and no server can start without. Bootstrap writes postgresql.conf again. */
const required = ["PG_VERSION", "global/pg_control", "base", "pg_wal", "pg_xact", "pg_hba.conf"];

/** Finds a data directory that is not one, or that an interrupted initdb or copy has left incomplete. */
export async function findIncompleteData({ dataDir }: Stack): Promise<Finding[]> {
  try {
    if ((await inspectCluster(dataDir)) === "absent") return [];
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    if (error.code === "DATA_VERSION") return [otherVersion(error)];
  }
  const tried = required.map(async (name) => ((await isMissing(join(dataDir, name))) ? [name] : []));
  const missing = (await Promise.all(tried)).flat();
  return missing.length === 0 ? [] : [incomplete(dataDir, missing)];
}

/** @throws the system's error if a folder on the way to it cannot be entered, so that nobody knows */
async function isMissing(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => false,
    (error: unknown) => {
      if (errorCode(error) !== "ENOENT") throw error;
      return true;
    },
  );
}

function otherVersion({ message, why = message, fix = "" }: ScriptError): Finding {
  return { id: "data-version", symptom: "does-not-start", cause: `${message}.`, evidence: why, fix };
}

function incomplete(dataDir: string, missing: readonly string[]): Finding {
  return {
    id: "data-incomplete",
    symptom: "does-not-start",
    cause: "The data directory is incomplete: initdb or a copy was interrupted, or files were deleted.",
    evidence: `${dataDir} lacks ${missing.join(", ")}.`,
    fix:
      `If it never worked, delete it and run ${runLine("bootstrap")}. Otherwise put the files back, or move it away, ` +
      `run ${runLine("bootstrap --adopt")}, and ${runLine("restore latest")}.`,
  };
}

/** PostgreSQL accepts 0700 and 0750. */
const forbiddenBits = 0o027;
const ownerBits = 0o700;

/** Finds a data directory that PostgreSQL refuses to start on, or cannot read. */
export async function findWrongAccess({ dataDir }: Stack): Promise<Finding[]> {
  const folder = await stat(dataDir).catch((error: unknown) => {
    if (errorCode(error) !== "ENOENT") throw error;
  });
  if (folder === undefined) return [];
  const isModeRight = (folder.mode & forbiddenBits) === 0 && (folder.mode & ownerBits) === ownerBits;
  return [...(isModeRight ? [] : [wrongMode(dataDir, folder.mode)]), ...(await findWrongOwner(dataDir, folder))];
}

/** @returns what is wrong if this user cannot look into the data directory, and its mode and owner are right */
export function unreadableData({ dataDir }: Stack, error: Error): Finding {
  return {
    id: "data-unreadable",
    symptom: "does-not-start",
    cause: "This user cannot look into the data directory.",
    evidence: error.message,
    fix: `Run this as the user who set up the stack, or allow this one to enter the folders in ${dataDir} and above it.`,
  };
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

interface Owned extends Owner {
  readonly name: string;
}

/** The server runs as the owner of the folder if root starts it, and otherwise as the user who does. */
async function findWrongOwner(dataDir: string, folder: Owner): Promise<Finding[]> {
  const [uid = 0, gid = 0] = [process.getuid?.(), process.getgid?.()];
  const account = uid === 0 ? folder : { uid, gid };
  const names = await readdir(dataDir).catch(() => []);
  const tried = [".", ...names, "global/pg_control"].map((name) => readOwner(dataDir, name));
  const found = (await Promise.all(tried)).flat();
  const strangers = found.filter((one) => one.uid !== account.uid);
  if (strangers.length === 0) return [];
  const [stranger] = strangers;
  const isMinority = stranger === undefined || strangers.length * 2 < found.length;
  return [isMinority ? wrongOwner(dataDir, account, strangers) : doubtfulOwner(dataDir, account, stranger)];
}

async function readOwner(dataDir: string, name: string): Promise<Owned[]> {
  return await lstat(join(dataDir, name)).then(
    ({ uid, gid }) => [{ name, uid, gid }],
    () => [],
  );
}

function wrongMode(dataDir: string, mode: number): Finding {
  const octal = (mode & 0o777).toString(8).padStart(4, "0");
  return {
    id: "data-mode-wrong",
    symptom: "does-not-start",
    cause: "PostgreSQL does not start on a data directory with this mode.",
    evidence: `${dataDir} has the mode ${octal}; 0700 is needed.`,
    fix: `Run chmod 0700 '${dataDir}'.`,
    repair: { description: `gives ${dataDir} the mode 0700`, run: () => chmod(dataDir, ownerBits) },
  };
}

const ownerFinding = { id: "data-owner-wrong", symptom: "does-not-start" } as const;

function wrongOwner(dataDir: string, { uid, gid }: Owner, strangers: readonly Owned[]): Finding {
  const listed = strangers.slice(0, 5).map((one) => `${one.name} belongs to uid ${one.uid}`);
  const finding = {
    ...ownerFinding,
    cause: "Files of the data directory belong to another user than the server.",
    evidence: `The server's account is uid ${uid}, but in ${dataDir}, ${listed.join(", ")}.`,
    fix: `As root, run chown -R ${uid}:${gid} '${dataDir}'.`,
  } as const;
  if (process.getuid?.() !== 0) return finding;
  const description = `makes uid ${uid} the owner of everything in ${dataDir}`;
  return { ...finding, repair: { description, run: () => changeOwner(`${uid}:${gid}`, dataDir) } };
}

/** Nobody knows whether the folder or its files were given to somebody else. */
function doubtfulOwner(dataDir: string, account: Owner, stranger: Owned): Finding {
  return {
    ...ownerFinding,
    cause: "Most files of the data directory belong to another user than the one that the server would run as.",
    evidence: `The server's account would be uid ${account.uid}, but in ${dataDir}, ${stranger.name} belongs to uid ${stranger.uid}.`,
    fix:
      `As root, run chown -R <uid>:<gid> '${dataDir}', with ${stranger.uid}:${stranger.gid} if that user has run the ` +
      `server, and with ${account.uid}:${account.gid} if the files were copied by mistake as the other one.`,
  };
}

async function changeOwner(owner: string, folder: string): Promise<void> {
  const { exitCode, stderr } = await runProcess("chown", ["-R", owner, folder]);
  if (exitCode !== 0) throw new Error(stderr.trim());
}
