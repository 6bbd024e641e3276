import type { Sql } from "../postgres/driver.ts";
import { rememberedSecrets } from "./secret-store.ts";
import { newestVersion } from "./skew.ts";
import type { Stack } from "./stack.ts";
import { type StackState, writeState } from "./state.ts";

/** Records the server of a stack in external mode. */
export async function saveExternalState(stack: Stack, sql: Sql): Promise<void> {
  const { database, user, remembered, stackDir } = stack;
  const state: StackState = {
    mode: "external",
    database,
    user,
    ...rememberedSecrets(stack),
    ...(await readServerIdentity(sql)),
    version: newestVersion(remembered),
  };
  await writeState(stackDir, state);
}

/**
 * Compares the server of a session with the one that the stack remembers. The configuration names an external server
 * explicitly, so another one is not refused.
 *
 * @returns what differs, in one sentence
 */
export async function describeOtherServer({ mode, remembered }: Stack, sql: Sql): Promise<string | undefined> {
  const known = mode !== "embedded" && remembered?.mode === mode ? remembered.cluster?.systemIdentifier : undefined;
  const actual = known === undefined ? undefined : (await readServerIdentity(sql)).cluster?.systemIdentifier;
  if (known === undefined || actual === undefined || known === actual) return undefined;
  return `the server has the system identifier ${actual}; the last bootstrap set up ${known}`;
}

/** @returns the part of a stack's state that identifies a server; empty if the login may not read it */
export async function readServerIdentity(sql: Sql): Promise<Pick<StackState, "cluster">> {
  const [allowed] = await sql`select where has_function_privilege('pg_catalog.pg_control_system()', 'execute')`;
  if (allowed === undefined) return {};
  const [row] = await sql<{ systemIdentifier: string }[]>`
    select system_identifier::text as "systemIdentifier" from pg_catalog.pg_control_system()`;
  return row === undefined ? {} : { cluster: { ...row } };
}
