import { chooseLogger } from "../event-store/logger.ts";
import { type commonOptions, type EventStore, type EventStoreOptions, openEventStore } from "../event-store/store.ts";
import type { Credentials } from "../postgres/target.ts";
import { describeSkew } from "./skew.ts";
import { applicationTarget, checkOwnServer, readApplicationSecret, type Stack } from "./stack.ts";

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
  const credentials = async (): Promise<Credentials> => {
    const { username, password } = await readApplicationSecret(stack);
    await checkOwnServer(stack, target);
    return { user: username, password, requireScram };
  };
  return openEventStore({ ...target, credentials, ...options });
}
