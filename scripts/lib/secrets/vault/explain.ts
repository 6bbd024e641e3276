import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError, type ScriptErrorDetails } from "../../cli/script-error.ts";
import { notRunning, type VaultFailure } from "./failure.ts";

/** The request that failed. */
export interface FailureContext {
  readonly address: string;
  readonly method: string;
  readonly path: string;
  /** Who sent it: `VAULT_TOKEN`, or `the AppRole cqrs-init`. */
  readonly login: string;
  /** Whether it is the local Vault of this stack, which bootstrap starts and unseals. */
  readonly isLocal: boolean;
}

/**
 * Explains a failure and how to fix it.
 *
 * @returns exit 2 redirect or certificate · 3 unreachable, sealed, no mount · 6 refused · 124 timed out
 */
export function explainVaultFailure(failure: VaultFailure, context: FailureContext): ScriptError {
  return new ScriptError(detailsOf(failure, context));
}

function detailsOf(failure: VaultFailure, context: FailureContext): ScriptErrorDetails {
  if (failure.kind === "network") return unreachable(failure, context);
  if (failure.kind === "timeout") return tooSlow(context);
  if (failure.kind === "certificate") return untrusted(failure, context);
  if (failure.status >= 300 && failure.status < 400) return redirected(failure, context);
  if (failure.status === 503) return sealed(failure, context);
  if (failure.status === 429) return rateLimited(context);
  if (failure.status === 403) return refused(failure, context);
  if (failure.status === 404 && failure.text.includes("no handler for route")) return noMount(context);
  return {
    code: "VAULT_ERROR",
    exitCode: exitCodes.notReady,
    message: `Vault at ${context.address} responded to ${context.method} ${context.path} with ${failure.status}`,
    why: failure.text || "The response has no message.",
    fix: "Check Vault's log, then run this again.",
  };
}

function unreachable({ code }: VaultFailure, { address, isLocal }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_UNREACHABLE",
    exitCode: exitCodes.notReady,
    message: `Vault at ${address} is unreachable`,
    why: code === notRunning ? "Its process does not exist." : `The connection failed: ${code}.`,
    fix: isLocal ? `Run ${runLine("bootstrap")}, which starts it.` : "Start that Vault, or correct VAULT_ADDR.",
  };
}

function tooSlow({ address, method, path }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_TIMEOUT",
    exitCode: exitCodes.timeout,
    message: `Vault at ${address} did not answer ${method} ${path} in time`,
    why: "It accepts connections but does not respond.",
    fix: "Run this again, with a longer --timeout (CQRS_TIMEOUT) if that Vault is slow.",
  };
}

function untrusted({ text, code }: VaultFailure, { address }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_CERTIFICATE",
    exitCode: exitCodes.usage,
    message: `The certificate of Vault at ${address} is not trusted`,
    why: text || code,
    fix: "Set VAULT_CACERT to the PEM file of the authority that signed it, and VAULT_ADDR to a host name in the certificate.",
  };
}

function redirected({ status }: VaultFailure, { address }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_REDIRECT",
    exitCode: exitCodes.usage,
    message: `Vault at ${address} redirects requests`,
    why: `It responded with ${status}. The token is never sent to an address that is not configured.`,
    fix: "Set VAULT_ADDR to the active server, or to the load balancer in front of the servers.",
  };
}

function sealed({ text }: VaultFailure, { address, isLocal }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_SEALED",
    exitCode: exitCodes.notReady,
    message: `Vault at ${address} is sealed, or not initialised`,
    why: text || "It responded with 503.",
    fix: isLocal
      ? `Run ${runLine("bootstrap")}, which unseals it.`
      : "Run vault operator unseal. If Vault is new, first run vault operator init.",
  };
}

function rateLimited({ address }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_RATE_LIMITED",
    exitCode: exitCodes.timeout,
    message: `Vault at ${address} kept responding with 429, too many requests`,
    why: "A rate limit (sys/quotas/rate-limit) was exhausted for the whole time limit.",
    fix: "Run this again later or with a longer --timeout (CQRS_TIMEOUT), or raise the quota.",
  };
}

function refused({ text }: VaultFailure, { address, method, path, login }: FailureContext): ScriptErrorDetails {
  if (/invalid token|bad token/.test(text)) {
    return {
      code: "VAULT_TOKEN_REFUSED",
      exitCode: exitCodes.authentication,
      message: `Vault at ${address} rejected the token (from ${login})`,
      why: "The token has expired, was revoked, or belongs to another Vault.",
      fix: "Set VAULT_TOKEN to a valid token (vault login; vault print token), or use an AppRole: VAULT_ROLE_ID, VAULT_SECRET_ID.",
    };
  }
  const capability = { GET: "read", POST: "create, update", PUT: "create, update", DELETE: "delete" }[method] ?? method;
  return {
    code: "VAULT_FORBIDDEN",
    exitCode: exitCodes.authentication,
    message: `${login} is not allowed to ${method} ${path} in Vault at ${address}`,
    why: "Its policy does not allow that.",
    fix: `Add to its policy: path "${path}" { capabilities = [${capability
      .split(", ")
      .map((name) => `"${name}"`)
      .join(", ")}] }`,
  };
}

function noMount({ address, path }: FailureContext): ScriptErrorDetails {
  return {
    code: "VAULT_NO_MOUNT",
    exitCode: exitCodes.notReady,
    message: `Vault at ${address} has no engine for ${path}`,
    why: "The engine was never mounted, or was disabled.",
    fix: `Run ${runLine("secrets init")} with VAULT_TOKEN set to an administrator's token.`,
  };
}
