import { type commonOptions, type EventStore, type EventStoreOptions, openEventStore } from "../event-store/store.ts";
import type { Credentials } from "../postgres/target.ts";
import { applicationTarget, readApplicationSecret, type Stack } from "./stack.ts";

type StackStoreOptions = Pick<EventStoreOptions, keyof typeof commonOptions>;

/** Opens the event store of a stack, with the application's login. */
export async function openStackStore(stack: Stack, options: StackStoreOptions = {}): Promise<EventStore> {
  const { password: _, ...target } = await applicationTarget(stack);
  return openEventStore({ ...target, credentials: () => readCredentials(stack), ...options });
}

async function readCredentials(stack: Stack): Promise<Credentials> {
  const { username, password } = await readApplicationSecret(stack);
  return { user: username, password };
}
