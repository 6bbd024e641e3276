import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { hostAndPort } from "../server-url.ts";
import type { Sql } from "./driver.ts";
import type { ConnectionTarget } from "./target.ts";

/** Whether the server replays the log of another one. */
export async function isStandby(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ isStandby: boolean }[]>`select pg_catalog.pg_is_in_recovery() as "isStandby"`;
  return row?.isStandby === true;
}

/**
 * Refuses a standby, for commands that write. Called before the first change anywhere, such as of a secret.
 *
 * @throws {ScriptError} `STANDBY` (exit 9)
 */
export async function requirePrimary(sql: Sql, target: Pick<ConnectionTarget, "host" | "port">): Promise<void> {
  if (!(await isStandby(sql))) return;
  throw new ScriptError({
    code: "STANDBY",
    exitCode: exitCodes.prerequisite,
    message: `The server ${hostAndPort(target)} is a standby`,
    why: "It replays the log of another server, and accepts no changes. Nothing was changed.",
    fix: "Use the primary server, or promote this one first: select pg_promote();",
  });
}
