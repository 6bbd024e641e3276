import { chooseLogger } from "../event-store/logger.ts";
import { type commonOptions, type EventStore, type EventStoreOptions, openEventStore } from "../event-store/store.ts";
import { errorCode } from "../postgres/failure.ts";
import type { Credentials } from "../postgres/target.ts";
import type { ApplicationSecret } from "../secrets/application-secret.ts";
import { describeSkew } from "./skew.ts";
import { applicationTarget, checkOwnServer, findStack, readApplicationSecret, type Stack } from "./stack.ts";

type StackStoreOptions = Pick<EventStoreOptions, keyof typeof commonOptions>;

/**
 * Opens the event store of a stack, with the application's login.
 *
 * @param options.database another database than that of the secret
 */
export async function openStackStore(
  stack: Stack,
  options: StackStoreOptions & Partial<Pick<EventStoreOptions, "database">> = {},
): Promise<EventStore> {
  const { password: _, requireScram = false, ...target } = await applicationTarget(stack);
  const skew = describeSkew(stack.remembered);
  if (skew?.isOlder) chooseLogger(options.logger).warn(skew.text);
  const readSecret = readerOf(stack);
  const credentials = async (): Promise<Credentials> => {
    const { username, password } = await readSecret();
    await checkOwnServer(stack, target);
    return { user: username, password, requireScram };
  };
  return openEventStore({ ...target, credentials, ...options });
}

/** @returns reads the application's secret, also after it was moved to another secret store */
function readerOf(stack: Stack): () => Promise<ApplicationSecret> {
  let current = stack;
  return async () => {
    try {
      return await readApplicationSecret(current);
    } catch (error) {
      if (errorCode(error) !== "SECRETS_MISSING") throw error;
      const found = await findStack(current.config, "application");
      if (found.secretsPlace === current.secretsPlace) throw error;
      current = found;
      return await readApplicationSecret(current);
    }
  };
}
