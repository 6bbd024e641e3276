import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { connectionFailure, errorCode, isFromServer, messageWithCode } from "../postgres/failure.ts";
import { type ConnectionTarget, maskedUrl, type SessionTarget } from "../postgres/target.ts";
import { tlsFailure } from "../postgres/tls-failure.ts";
import { judgeSocketError } from "./failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/**
 * Checks an open session.
 *
 * @throws the driver's error, or a {@link ScriptError} if waiting cannot help
 */
export type SessionCheck = (sql: Sql) => Promise<Finding>;

/** A database that accepts a login and passes the check. */
export function postgresTarget(server: ConnectionTarget, check: SessionCheck = queryCheck("select true")): WaitTarget {
  return { name: maskedUrl(server), probe: (signal) => probePostgres(server, check, signal) };
}

/**
 * Opens a session and checks it.
 *
 * @throws {ScriptError} `AUTHENTICATION` (exit 6), `TLS` or `QUERY` (exit 2), or the error of the check
 */
export async function probePostgres(server: SessionTarget, check: SessionCheck, signal: AbortSignal): Promise<Finding> {
  await using connection = openConnection(server, { applicationName: "cqrs-postgres wait-for", signal });
  try {
    return await check(connection.sql);
  } catch (error) {
    if (error instanceof ScriptError) throw error;
    return judgeError(error, server);
  }
}

/** @returns a check that passes if the first value of the first row is neither false nor null */
export function queryCheck(query: string): SessionCheck {
  return async (sql) => {
    const [row] = await sql.unsafe(query).values();
    const value: unknown = row?.[0];
    if (row === undefined) return notYet("the query returns no row");
    return value === false || value === null ? notYet(`the query returns ${value}`) : usable;
  };
}

function judgeError(error: unknown, server: ConnectionTarget): Finding {
  const code = errorCode(error);
  const { routine } = error as { readonly routine?: string };
  const reason = messageWithCode(error as Error);
  // The code 28000 means either that the role does not exist, or that pg_hba.conf rejects the client.
  const isMissingRole = code === "28000" && routine === "InitializeSessionUserId";
  const isClosedDatabase = code === "42501" && routine === "CheckMyDatabase";
  if (code === "3D000" || isMissingRole || isClosedDatabase) return { isUsable: false, reason, isMissing: true };
  const failure = connectionFailure(error);
  if (failure === "tls") throw tlsFailure(maskedUrl(server), error as Error, exitCodes.usage);
  if (failure === "wrong-password" || failure === "insecure") throw explainConnectionError(error, server);
  if (code === "42601") throw wrongQuery(reason);
  if (code === "PROTOCOL_VIOLATION") return notYet("the server that responds is not PostgreSQL");
  return isFromServer(error) ? notYet(reason) : judgeSocketError(error, maskedUrl(server));
}

function wrongQuery(why: string): ScriptError {
  return new ScriptError({
    code: "QUERY",
    exitCode: exitCodes.usage,
    message: "The query is not valid SQL",
    why,
    fix: "Correct --query.",
  });
}
