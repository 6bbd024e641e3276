import { locked } from "../../cli/errors.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { ConnectionTarget } from "../target.ts";
import { type DumpThread, type PgDumpEnd, type PgDumpRun, runBridge } from "./bridge.ts";
import { runNative } from "./native.ts";

/** What to dump, and how. */
export interface DumpOptions {
  /** `server_version_num` of the server: 160014. */
  readonly server: number;
  /** Selects what to dump: `--schema-only`, `--section=pre-data`. */
  readonly args: readonly string[];
  /** The role that reads the catalog; by default, the login. */
  readonly role?: string | undefined;
  /** The id of an exported snapshot. */
  readonly snapshot?: string;
  /** How long to wait for the lock of a table; @default 10000 */
  readonly lockTimeoutMs?: number;
  readonly signal: AbortSignal;
  /** Used for several dumps, so that pg_dump is compiled once; by default, each has its own. */
  readonly thread?: DumpThread;
}

/** The version of the pg_dump in `vendor/`. It dumps servers up to its own. */
const vendoredMajor = 18;
const applicationName = "cqrs-postgres pg_dump";
const restrictKey = "cqrspostgres";
/** Subscriptions would start to replicate, and tablespaces belong to the server. */
const always = ["--no-subscriptions", "--no-tablespaces", "--encoding=UTF8"];

/**
 * Dumps the schema of a database as SQL, with PostgreSQL's own pg_dump.
 *
 * @throws {ScriptError} `LOCKED` (exit 5) with the table that another session is changing, `DUMP_FAILED` or
 * `NO_PG_DUMP` (exit 9); a lost connection or a refused login keeps its own error
 */
export async function dumpDatabase(target: ConnectionTarget, options: DumpOptions): Promise<string> {
  const { server, role, snapshot, lockTimeoutMs = 10_000, signal, thread } = options;
  const args = [
    ...options.args,
    ...always,
    `--lock-wait-timeout=${lockTimeoutMs}`,
    `--restrict-key=${restrictKey}`,
    ...(role === undefined ? [] : [`--role=${role}`]),
    ...(snapshot === undefined ? [] : [`--snapshot=${snapshot}`]),
  ];
  const run: PgDumpRun = { args, applicationName, signal, thread };
  const major = Math.floor(server / 10_000);
  const end = major > vendoredMajor ? await runNative(target, run, major) : await runBridge(target, run);
  if (end.exitCode !== 0) throw explainEnd(target, end);
  return withoutRestriction(end.dump);
}

/** Removes the two lines that only psql understands. A line like them in a comment or a function stays. */
function withoutRestriction(dump: string): string {
  const [first, last] = [`\n\\restrict ${restrictKey}\n`, `\n\\unrestrict ${restrictKey}\n`];
  const start = dump.indexOf(first);
  const end = dump.lastIndexOf(last);
  if (start < 0 || end < start) return dump;
  return dump.slice(0, start) + dump.slice(start + first.length, end) + dump.slice(end + last.length);
}

function explainEnd({ database }: ConnectionTarget, { stderr }: PgDumpEnd): ScriptError {
  const lines = stderr.split("\n").filter((line) => !line.startsWith("could not find a "));
  const why = lines.map((line) => line.replace(/^pg_dump: /, "")).join("\n");
  const table = /^detail: Query was: LOCK TABLE (.*) IN ACCESS SHARE MODE/m.exec(why)?.[1];
  if (table !== undefined && /canceling statement due to (statement|lock) timeout/.test(why)) {
    return locked(
      `A table of ${database} is being changed`,
      `Another session holds a lock of one of: ${table}.`,
      "Wait for that session to finish, then run this again.",
    );
  }
  return new ScriptError({
    code: "DUMP_FAILED",
    exitCode: exitCodes.prerequisite,
    message: `pg_dump could not read the schema of ${database}`,
    why,
    fix: "Fix what PostgreSQL reports, then run this again.",
  });
}
