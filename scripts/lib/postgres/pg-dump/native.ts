import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { runProcess } from "../../process.ts";
import { environment } from "../../runtime.ts";
import type { ConnectionTarget } from "../target.ts";
import type { PgDumpEnd, PgDumpRun } from "./bridge.ts";

/**
 * Runs the pg_dump on the PATH, for a server that is newer than the one in `vendor/`.
 *
 * @param major the server's version, which pg_dump must not be older than
 * @param program its path, if it is not on the PATH
 * @throws {ScriptError} `NO_PG_DUMP` (exit 9)
 */
export async function runNative(
  target: ConnectionTarget,
  { args, applicationName, signal }: PgDumpRun,
  major: number,
  program = "pg_dump",
): Promise<PgDumpEnd> {
  await checkVersion(major, program, signal);
  const { host, port, user, password, database, tls = "disable", tlsRootCert } = target;
  const settings = {
    PGHOST: host,
    PGPORT: `${port}`,
    PGUSER: user,
    PGPASSWORD: password,
    PGDATABASE: database,
    PGAPPNAME: applicationName,
    PGSSLMODE: tls,
    PGSSLROOTCERT: tlsRootCert,
    // Without TLS, any program that listens on the port could ask for the password.
    PGREQUIREAUTH: tls === "disable" ? "!password,!md5" : undefined,
    LC_ALL: "C.UTF-8",
  };
  const ended = await runProcess(program, args, { env: { ...environment(), ...settings }, signal });
  return { exitCode: ended.exitCode ?? 1, dump: ended.stdout, stderr: ended.stderr.trim() };
}

async function checkVersion(major: number, program: string, signal: AbortSignal): Promise<void> {
  const found = await runProcess(program, ["--version"], { env: environment(), signal }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  const version = /\(PostgreSQL\) (\d+)/.exec(found?.stdout ?? "")?.[1];
  if (Number(version ?? 0) >= major) return;
  throw new ScriptError({
    code: "NO_PG_DUMP",
    exitCode: exitCodes.prerequisite,
    message: `PostgreSQL ${major} needs a pg_dump of its own version`,
    why:
      version === undefined ? "There is no pg_dump on the PATH." : `The pg_dump on the PATH is of version ${version}.`,
    fix: `Install the client programs of PostgreSQL ${major}, or update this package.`,
  });
}
