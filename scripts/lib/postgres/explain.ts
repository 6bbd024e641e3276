import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { explainServerError } from "../cli/server-error.ts";
import { demandsTls } from "../server-url.ts";
import { connectionFailure, errorCode, isClientRejected, messageWithCode } from "./failure.ts";
import { type ConnectionTarget, maskedUrl } from "./target.ts";
import { tlsFailure } from "./tls-failure.ts";

/** PgBouncer refuses settings in the start-up message, such as the role that administrators' commands switch to. */
const protocolViolation = "08P01";

/**
 * Explains an error of the connection or of the server's machine.
 *
 * @returns the error to throw instead; any other error unchanged
 */
export function explainConnectionError(error: unknown, target: ConnectionTarget): unknown {
  if (error instanceof ScriptError) return error;
  const explained = explainServerError(error);
  if (explained !== error) return explained;
  const failure = connectionFailure(error);
  if (failure === undefined) return error;
  const why = messageWithCode(error as Error);
  if (failure === "tls") return tlsFailure(maskedUrl(target), error as Error, exitCodes.notReady);
  if (failure === "insecure") return insecure(target, error as Error & { readonly mustProve?: boolean });
  if (isClientRejected(error)) return clientRejected(target, error as Error);
  if (failure === "wrong-password") {
    return new ScriptError({
      code: "AUTHENTICATION",
      exitCode: exitCodes.authentication,
      message: `PostgreSQL rejected the login ${maskedUrl(target)}`,
      why,
      fix: `Run ${runLine("bootstrap")}, which resets the password. For your own server, check PGUSER and PGPASSWORD.`,
    });
  }
  return new ScriptError({
    code: failure === "no-database" ? "NO_DATABASE" : "NOT_READY",
    exitCode: exitCodes.notReady,
    message: `Cannot use ${maskedUrl(target)}`,
    why,
    fix:
      errorCode(error) === protocolViolation
        ? "Connect to the PostgreSQL server itself, not to a pooler."
        : `Run ${runLine("bootstrap")}.`,
  });
}

function insecure(target: ConnectionTarget, error: Error & { readonly mustProve?: boolean }): ScriptError {
  return new ScriptError({
    code: "INSECURE_AUTHENTICATION",
    exitCode: exitCodes.authentication,
    message: `Did not send the password to ${maskedUrl(target)}`,
    why: messageWithCode(error),
    fix: error.mustProve === true ? ownServerFix() : foreignServerFix,
  });
}

const foreignServerFix =
  "Check that this is your server. Set sslmode=require (DATABASE_URL or PGSSLMODE), or use scram-sha-256 there.";

/** The embedded server demands SCRAM, unless someone has changed its `pg_hba.conf`. */
function ownServerFix(): string {
  return (
    "Check which program listens on this port. If it is this server, set the method scram-sha-256 in every line of " +
    `pg_hba.conf in its data directory, and run ${runLine("stop")} && ${runLine("bootstrap")}.`
  );
}

/** The server's text names the missing encryption, but in its own language. */
function clientRejected(target: ConnectionTarget, error: Error): ScriptError {
  const allow = "Allow this login in the server's pg_hba.conf.";
  return new ScriptError({
    code: "AUTHENTICATION",
    exitCode: exitCodes.authentication,
    message: `PostgreSQL rejected the login ${maskedUrl(target)}`,
    why: messageWithCode(error),
    fix: demandsTls(target.tls)
      ? allow
      : `If the server requires TLS, set sslmode=require (DATABASE_URL or PGSSLMODE). ${allow}`,
  });
}
