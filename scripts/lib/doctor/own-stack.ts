import type { Config } from "../config.ts";
import type { SecretStore } from "../secrets/store.ts";
import { findOtherVault } from "../stack/secret-store.ts";
import { findStack, type Stack } from "../stack/stack.ts";
import { NotChecked } from "./finding.ts";

/** Finds the stack. Its secret store sends nothing to another Vault than the one that the stack remembers. */
export async function findOwnStack(config: Config, signal: AbortSignal): Promise<Stack> {
  const stack = await findStack(config, "script", signal);
  const other = findOtherVault(stack);
  return other === undefined ? stack : { ...stack, secrets: closedStore(other.given) };
}

function closedStore(address: string): SecretStore {
  const refuse = async (): Promise<never> => {
    throw new NotChecked(`${address} is not the Vault that the stack remembers, so no credentials are sent to it`);
  };
  const close = async () => {};
  return { read: refuse, write: refuse, ensure: refuse, status: refuse, close, [Symbol.asyncDispose]: close };
}
