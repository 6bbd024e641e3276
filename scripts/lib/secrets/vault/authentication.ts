import { readFile } from "node:fs/promises";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { VaultFailure } from "./failure.ts";
import type { VaultBody, VaultRequest } from "./transport.ts";

/** Sends a request with no token but its own, and retries transient failures. */
export type SendUnauthenticated = (
  request: VaultRequest,
  options?: { readonly isRepeatable?: boolean },
) => Promise<VaultBody>;

/** A way to obtain a token. */
export interface VaultLogin {
  /** Shown in errors: `VAULT_TOKEN`, `the AppRole cqrs-init`. */
  readonly description: string;
  /**
   * @param wasRefused whether Vault refused the previous token
   * @returns undefined if there is no token other than the refused one
   */
  obtain(send: SendUnauthenticated, wasRefused: boolean): Promise<string | undefined>;
}

/** The two credentials of an AppRole. */
export interface AppRoleCredentials {
  readonly roleId: string;
  readonly secretId: string;
}

/** Uses a fixed token. */
export function tokenLogin(token: string, description = "VAULT_TOKEN"): VaultLogin {
  return { description, obtain: async (_send, wasRefused) => (wasRefused ? undefined : token) };
}

/** Uses the token in a file. If the token is refused, reads the file again, because an agent may have renewed it. */
export function tokenFileLogin(file: string): VaultLogin {
  let last: string | undefined;
  return {
    description: `the token in ${file}`,
    async obtain(_send, wasRefused) {
      const token = await readToken(file);
      if (wasRefused && token === last) return undefined;
      last = token;
      return token;
    },
  };
}

/**
 * Logs in with an AppRole, and again if its token is refused.
 *
 * @param readCredentials called for each login, so that a renewed secret id is picked up
 */
export function appRoleLogin(
  description: string,
  readCredentials: (send: SendUnauthenticated) => Promise<AppRoleCredentials>,
): VaultLogin {
  return {
    description,
    async obtain(send) {
      const { roleId, secretId } = await readCredentials(send);
      const body = { role_id: roleId, secret_id: secretId };
      try {
        const { auth } = await send({ method: "POST", path: "auth/approle/login", body });
        return auth?.client_token;
      } catch (error) {
        throw isRefusal(error) ? loginRefused(description) : error;
      }
    },
  };
}

/** Always fails, because there are no credentials. */
export function noLogin(fix: string): VaultLogin {
  return {
    description: "nobody",
    async obtain() {
      throw new ScriptError({
        code: "VAULT_NO_LOGIN",
        exitCode: exitCodes.authentication,
        message: "There are no credentials for Vault",
        why: "Neither VAULT_TOKEN nor VAULT_ROLE_ID and VAULT_SECRET_ID are set, and the stack has no AppRole.",
        fix,
      });
    },
  };
}

/** Vault answers a wrong role id or secret id with 400, an unbound address with 403. */
function isRefusal(error: unknown): boolean {
  const { status, text } = error as VaultFailure;
  return (status === 400 && /invalid role|secret.id/i.test(text ?? "")) || status === 403;
}

function loginRefused(description: string): ScriptError {
  return new ScriptError({
    code: "VAULT_LOGIN_REFUSED",
    exitCode: exitCodes.authentication,
    message: `Vault rejected the login with ${description}`,
    why: "Its role id or secret id is wrong, used up, expired or revoked.",
    fix: `Run ${runLine("secrets init")} to deliver a new secret id. Unless it is the local Vault, set VAULT_TOKEN to an administrator's token for that run.`,
  });
}

async function readToken(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw unreadable(file, `It cannot be read (${error.code}).`);
  });
  if (text.trim() === "") throw unreadable(file, "It is empty.");
  return text.trim();
}

function unreadable(file: string, why: string): ScriptError {
  return new ScriptError({
    code: "VAULT_TOKEN_FILE",
    exitCode: exitCodes.usage,
    message: `There is no token in ${file}`,
    why,
    fix: "Set VAULT_TOKEN_FILE to the file that your agent writes.",
  });
}
