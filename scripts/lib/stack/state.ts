import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { explainFileError } from "../cli/file-error.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { replaceDurably } from "../durable-file.ts";

const clusterIdentity = v.object({
  /** The identifier that initdb gave to the cluster. */
  systemIdentifier: v.string(),
  /** The inode of its pg_control, if this stack runs the server. */
  inode: v.exactOptional(v.string()),
  /** Its data directory at that time, if this stack runs the server. */
  directory: v.exactOptional(v.string()),
});

const stackState = v.object({
  mode: v.picklist(["embedded", "compose", "external"]),
  database: v.string(),
  user: v.string(),
  /** The port on this host; absent in external mode. */
  port: v.exactOptional(v.pipe(v.number(), v.integer())),
  /** The port of a pooler on this host, from CQRS_LOCAL_PORT. */
  localPort: v.exactOptional(v.pipe(v.number(), v.integer())),
  /** Where the secrets are kept; absent if in files. */
  secrets: v.exactOptional(v.picklist(["vault", "local-vault"])),
  /** The address of that Vault. */
  vaultAddress: v.exactOptional(v.string()),
  /** The server's cluster; absent if unknown, null if the next bootstrap may create one. */
  cluster: v.exactOptional(v.nullable(clusterIdentity)),
  /** The name of the compose project, and the folder of this stack at that time. */
  compose: v.exactOptional(v.object({ name: v.string(), directory: v.string() })),
  /** The newest version of this package that has set up the stack. */
  version: v.exactOptional(v.string()),
});

/** What a stack remembers from one script to the next. Contains no secrets. */
export type StackState = v.InferOutput<typeof stackState>;

/**
 * @returns the state of a stack; undefined before the first bootstrap
 * @throws {ScriptError} `STATE` (exit 2) if the file is not a valid state
 */
export async function readState(stackDir: string): Promise<StackState | undefined> {
  const file = stateFile(stackDir);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw explainFileError(error, file);
  });
  if (text === undefined) return undefined;
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), stackState), text);
  if (parsed.success) return parsed.output;
  throw unreadable(file, parsed.issues[0].message);
}

/** Writes the state atomically. */
export async function writeState(stackDir: string, state: StackState): Promise<void> {
  await mkdir(stackDir, { recursive: true });
  await replaceDurably(stateFile(stackDir), `${JSON.stringify(state, undefined, 2)}\n`, 0o644);
}

export async function removeState(stackDir: string): Promise<void> {
  await rm(stateFile(stackDir), { force: true });
}

function stateFile(stackDir: string): string {
  return join(stackDir, "state.json");
}

function unreadable(file: string, why: string): ScriptError {
  return new ScriptError({
    code: "STATE",
    exitCode: exitCodes.usage,
    message: `Cannot read ${file}`,
    why,
    fix:
      `Put back a copy of it. Without one, rename it, and run ${runLine("bootstrap")} with the --mode, --database, ` +
      "--user and --secrets of this stack, which writes it again. Data and secrets are not in it.",
  });
}
