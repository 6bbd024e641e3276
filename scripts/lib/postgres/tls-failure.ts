import { type exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode, messageWithCode } from "./failure.ts";

const fixes: Readonly<Record<string, string>> = {
  TLS_NOT_OFFERED: "Set ssl = on on the server, or correct sslmode (DATABASE_URL or PGSSLMODE).",
  TLS_ROOT_CERT: "Set sslrootcert (DATABASE_URL or PGSSLROOTCERT) to a PEM file with the authority's certificate.",
  TLS_CERTIFICATE:
    "Set sslrootcert (PGSSLROOTCERT) to its authority's certificate, connect to a host that it names, or replace it.",
  TLS_UNEXPECTED_DATA: "Find out what listens at this address: this is what an attack looks like.",
  TLS_FAILED: "Check sslmode and the TLS settings of the server.",
};

/**
 * @param target safe to print
 * @param exitCode that of usage ends a wait, because waiting cannot help
 * @returns the error to report if TLS cannot be negotiated or a certificate is not trusted
 */
export function tlsFailure(
  target: string,
  error: Error,
  exitCode: typeof exitCodes.usage | typeof exitCodes.notReady,
): ScriptError {
  return new ScriptError({
    code: "TLS",
    exitCode,
    message: `Cannot agree on TLS with ${target}`,
    why: messageWithCode(error),
    fix:
      fixes[errorCode(error)] ??
      "Correct the URL's scheme or sslmode, or set NODE_EXTRA_CA_CERTS to the certificate of the authority.",
  });
}
