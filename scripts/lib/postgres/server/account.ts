import { readFileSync, statSync } from "node:fs";
import { chown } from "node:fs/promises";
import process from "node:process";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { runProcessSync } from "../../process.ts";

/** The account that the server runs as. It is never plain root, because PostgreSQL refuses to run as root. */
export interface ServerAccount {
  /** For messages: `root, in a user namespace`. */
  readonly description: string;
  /** The user and group to start a process as; empty for our own. */
  readonly identity: { readonly uid?: number; readonly gid?: number };
  /** @returns the command line that runs `program` as this account */
  command(program: string, args: readonly string[]): string[];
  /** Makes the account the owner of a file. */
  takeOwnership(path: string): Promise<void>;
}

/** The complete environment of a server: anything in it can be read from `/proc/<pid>/environ`. */
export const serverEnvironment = { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C" } as const;

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Chooses the account that runs a server.
 *
 * An ordinary user runs it as itself. Root runs it as the owner of the data directory, if that is another user. If root
 * owns it, or it is new, root runs the server in a user namespace, in which root is an ordinary user. This works even
 * in root's home. If user namespaces are disabled, as in most containers, root switches to `postgres` or `nobody`.
 *
 * @param dataDir the data directory, which need not exist
 * @throws {ScriptError} `NO_ACCOUNT` (exit 9) if root can do none of this
 */
export function chooseAccount(dataDir: string): ServerAccount {
  if (process.getuid?.() !== 0) return ownAccount;
  const owner = statSync(dataDir, { throwIfNoEntry: false });
  if (owner !== undefined && owner.uid !== 0) return asOtherUser({ name: `#${owner.uid}`, ...owner });
  const accounts = readPasswd().filter(({ uid }) => uid !== 0);
  const preferred = ["postgres", "nobody"].map((name) => accounts.find((account) => account.name === name));
  const account = preferred.find((candidate) => candidate !== undefined) ?? accounts[0];
  if (account === undefined) throw noAccount("/etc/passwd lists no user but root.");
  if (owner === undefined || owner.uid === 0) {
    if (canMapUser(account)) return inUserNamespace(account);
    if (owner?.uid === 0) throw noAccount(`${dataDir} belongs to root, and user namespaces are disabled here.`);
  }
  return asOtherUser(account);
}

const ownAccount: ServerAccount = {
  description: "this user",
  identity: {},
  command: (program, args) => [program, ...args],
  takeOwnership: async () => {},
};

function asOtherUser({ name, uid, gid }: PasswdEntry): ServerAccount {
  return {
    description: `the user ${name}`,
    identity: { uid, gid },
    command: (program, args) => [program, ...args],
    takeOwnership: (path) => chown(path, uid, gid),
  };
}

function inUserNamespace(account: PasswdEntry): ServerAccount {
  return {
    description: "root, in a user namespace",
    identity: {},
    command: (program, args) => [...unshare(account), program, ...args],
    takeOwnership: async () => {},
  };
}

function canMapUser(account: PasswdEntry): boolean {
  const [program, ...args] = [...unshare(account), "true"];
  try {
    return runProcessSync(program as string, args, { env: serverEnvironment }).exitCode === 0;
  } catch {
    return false;
  }
}

/** initdb looks up its user, so the mapped user has to be in /etc/passwd. */
function unshare({ uid, gid }: PasswdEntry): string[] {
  return ["unshare", "--user", `--map-user=${uid}`, `--map-group=${gid}`, "--"];
}

function readPasswd(): PasswdEntry[] {
  const lines = readFileSync("/etc/passwd", "utf8").split("\n").filter(Boolean);
  return lines.map((line) => {
    const [name = "", , uid, gid] = line.split(":");
    return { name, uid: Number(uid), gid: Number(gid) };
  });
}

function noAccount(why: string): ScriptError {
  return new ScriptError({
    code: "NO_ACCOUNT",
    exitCode: exitCodes.prerequisite,
    message: "PostgreSQL refuses to run as root, and no other account is available",
    why,
    fix: "Run this as an ordinary user.",
  });
}
