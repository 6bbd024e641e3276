import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { readClientTarget } from "../operations/status.ts";
import { openConnection } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import type { SessionTarget } from "../postgres/target.ts";
import { findOnPath } from "../process.ts";
import { terminal } from "../runtime.ts";
import { administratorTarget, type Stack } from "../stack/stack.ts";
import { type PsqlChoice, runProgram } from "./program.ts";
import { promptForSql } from "./prompt.ts";
import { runCommandSql, runPipedSql } from "./run-sql.ts";
import { withSqlSession } from "./sql-session.ts";

/**
 * Finds the server, and logs in once. With SCRAM, this proves that the server knows the password without sending it;
 * the driver refuses to send it in clear text without TLS. psql would send it.
 *
 * @returns the function that runs the prompt or the SQL, and returns the exit code
 * @throws {ScriptError} `NOT_RUNNING`, `SECRETS_MISSING`, `OTHER_DATABASE` (exit 3), `AUTHENTICATION` (exit 6),
 * `NO_PSQL` (exit 9)
 */
export async function preparePsql(
  stack: Stack,
  choice: PsqlChoice,
  signal: AbortSignal,
): Promise<() => Promise<number>> {
  const program = findOnPath("psql");
  if (program === undefined && choice.words.length > 0) throw noPsql();
  const target = choice.admin ? await administratorTarget(stack) : await readClientTarget(stack);
  await tryLogin(target, signal);
  if (program !== undefined) return () => runProgram(program, target, choice);
  return () => withSqlSession(target, (session) => runHere(session, choice));
}

async function tryLogin(target: SessionTarget, signal: AbortSignal): Promise<void> {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres psql", signal });
  try {
    await connection.sql`select`;
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

function runHere(session: Parameters<typeof promptForSql>[0], { command }: PsqlChoice): Promise<number> {
  if (command !== undefined) return runCommandSql(session, command);
  return terminal().isStdinTerminal ? promptForSql(session) : runPipedSql(session);
}

function noPsql(): ScriptError {
  return new ScriptError({
    code: "NO_PSQL",
    exitCode: exitCodes.prerequisite,
    message: "There is no psql to pass arguments to",
    why: "No psql is on the PATH, and the prompt that takes its place has no such arguments.",
    fix: `Install psql (postgresql-client), or run ${runLine("psql")} --command <sql>.`,
  });
}
