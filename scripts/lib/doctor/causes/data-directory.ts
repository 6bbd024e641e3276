import { existsSync } from "node:fs";
import { chmod, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
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
  const missing = required.filter((name) => !existsSync(join(dataDir, name)));
  return missing.length === 0 ? [] : [incomplete(dataDir, missing)];
}

function otherVersion({ message, why = message, fix = "" }: ScriptError): Finding {
  return { id: "data-version", symptom: "does-not-start", cause: `${message}.`, evidence: why, fix };
}

function incomplete(dataDir: string, missing: readonly string[]): Finding {
  return {
    id: "data-incomplete",
    symptom: "does-not-start",
    cause: "The data directory is only half there: initdb or a copy was interrupted, or files were deleted.",
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
  if (!existsSync(join(dataDir, "PG_VERSION"))) return [];
  const [folder, version] = await Promise.all([stat(dataDir), stat(join(dataDir, "PG_VERSION"))]);
  const strangers = await findStrangers(dataDir, version.uid);
  const isModeRight = (folder.mode & forbiddenBits) === 0 && (folder.mode & ownerBits) === ownerBits;
  return [
    ...(isModeRight ? [] : [wrongMode(dataDir, folder.mode)]),
    ...(strangers.length === 0 ? [] : [wrongOwner(dataDir, version, strangers)]),
  ];
}

/** initdb has written PG_VERSION, as the account that runs the server. */
async function findStrangers(dataDir: string, uid: number): Promise<string[]> {
  const names = [".", ...(await readdir(dataDir)), "global/pg_control"];
  const owners = names.map(async (name) => ({ name, owner: await stat(join(dataDir, name)).catch(() => undefined) }));
  const found = await Promise.all(owners);
  return found.flatMap(({ name, owner }) =>
    owner === undefined || owner.uid === uid ? [] : [`${name} belongs to uid ${owner.uid}`],
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

function wrongOwner(
  dataDir: string,
  { uid, gid }: { readonly uid: number; readonly gid: number },
  strangers: readonly string[],
): Finding {
  const finding = {
    id: "data-owner-wrong",
    symptom: "does-not-start",
    cause: "Files of the data directory belong to another user than the server.",
    evidence: `The server's account is uid ${uid}, but in ${dataDir}, ${strangers.slice(0, 5).join(", ")}.`,
    fix: `As root, run chown -R ${uid}:${gid} '${dataDir}'.`,
  } as const;
  if (process.getuid?.() !== 0) return finding;
  const description = `makes uid ${uid} the owner of everything in ${dataDir}`;
  return { ...finding, repair: { description, run: () => changeOwner(`${uid}:${gid}`, dataDir) } };
}

async function changeOwner(owner: string, folder: string): Promise<void> {
  const { exitCode, stderr } = await runProcess("chown", ["-R", owner, folder]);
  if (exitCode !== 0) throw new Error(stderr.trim());
}
