import { type exitCodes, ScriptError } from "../cli/script-error.ts";
import { errorCode, messageWithCode } from "./failure.ts";

const fixes: Readonly<Record<string, string>> = {
  TLS_NOT_OFFERED: "Turn on ssl on the server, or correct sslmode (DATABASE_URL or PGSSLMODE).",
  TLS_ROOT_CERT: "Set sslrootcert (DATABASE_URL or PGSSLROOTCERT) to a PEM file with the authority's certificate.",
  TLS_CERTIFICATE:
    "Set sslrootcert (PGSSLROOTCERT) to its authority's certificate, use a host that it is for, or replace it.",
  TLS_UNEXPECTED_DATA: "Find out what answers in place of the server: this is how an attack would look.",
  TLS_FAILED: "Check sslmode and the TLS settings of the server.",
};

/**
 * @param target safe to print
 * @param exitCode a wait ends with the code of usage, as someone has to change something
 * @returns the error of two sides that disagree about TLS, or of a certificate that is not trusted
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
