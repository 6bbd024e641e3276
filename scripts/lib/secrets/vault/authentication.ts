import { readFile } from "node:fs/promises";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { VaultFailure } from "./failure.ts";
import type { VaultBody, VaultRequest } from "./transport.ts";

/** Sends a request with no other token than its own, again while trouble may pass. */
export type SendUnauthenticated = (
  request: VaultRequest,
  options?: { readonly isRepeatable?: boolean },
) => Promise<VaultBody>;

/** How a token is come by. */
export interface VaultLogin {
  /** For people: `VAULT_TOKEN`, `the AppRole cqrs-init`. */
  readonly description: string;
  /**
   * @param isAgain whether Vault refused the token of the call before
   * @returns a token; undefined when there is no other one than the one refused
   */
  obtain(send: SendUnauthenticated, isAgain: boolean): Promise<string | undefined>;
}

/** An AppRole's two halves. */
export interface AppRoleCredentials {
  readonly roleId: string;
  readonly secretId: string;
}

/** A token that was given. */
export function tokenLogin(token: string, description = "VAULT_TOKEN"): VaultLogin {
  return { description, obtain: async (_send, isAgain) => (isAgain ? undefined : token) };
}

/** A file with a token; read again when the token is refused, as whoever keeps the file may have renewed it. */
export function tokenFileLogin(file: string): VaultLogin {
  let last: string | undefined;
  return {
    description: `the token in ${file}`,
    async obtain(_send, isAgain) {
      const token = await readToken(file);
      if (isAgain && token === last) return undefined;
      last = token;
      return token;
    },
  };
}

/**
 * An AppRole; it logs in again when its token is refused.
 *
 * @param readCredentials called for each login, so that a renewed secret id is found
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

/** No credentials at all. */
export function noLogin(hint: string): VaultLogin {
  return {
    description: "nobody",
    async obtain() {
      throw new ScriptError({
        code: "VAULT_NO_LOGIN",
        exitCode: exitCodes.authentication,
        message: "There are no credentials for Vault",
        why: "Neither VAULT_TOKEN nor VAULT_ROLE_ID with VAULT_SECRET_ID is set, and the stack has no AppRole of its own.",
        fix: hint,
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
    message: `Vault refuses the login of ${description}`,
    why: "Its role id or secret id is wrong, used up, expired or revoked.",
    fix: "bun run secrets init delivers a new one; for another Vault than the local one give VAULT_TOKEN of an administrator.",
  });
}

async function readToken(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw unreadable(file, `It can't be read (${error.code}).`);
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
    fix: "Let VAULT_TOKEN_FILE name the file that your agent writes.",
  });
}
