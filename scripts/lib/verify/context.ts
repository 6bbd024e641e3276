import { type EventStore, openEventStore } from "../event-store/store.ts";
import type { DelayLimits } from "../operations/projection-problems.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import type { Administrator } from "../postgres/logins/roles.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { readViolations, type Violation } from "../schema/invariants.ts";
import { openSession } from "../stack/administrator.ts";
import { type ContainerFacts, inspectServer } from "../stack/compose/inspect.ts";
import { administratorTarget, applicationTarget, checkOwnServer, type RunContext, type Stack } from "../stack/stack.ts";
import { type Finding, once } from "./check.ts";

/** From which value on a check fails. */
export interface VerifyLimits extends DelayLimits {
  /** Free space of the disk, at least. PostgreSQL stops if it cannot write its log. */
  readonly minFreeBytes: number;
  /** How long a transaction may keep readers from later events. */
  readonly maxHeldSeconds: number;
  /** Age of the newest archive that passed a verification. */
  readonly maxBackupDays: number;
}

export const defaultLimits: VerifyLimits = {
  minFreeBytes: 500e6,
  maxHeldSeconds: 300,
  maxLagSeconds: 300,
  maxStalledSeconds: 60,
  maxBackupDays: 7,
};

/** What the checks share. */
export interface VerifyContext {
  readonly stack: Stack;
  readonly run: RunContext;
  readonly limits: VerifyLimits;
  /** The stack's database, with the administrator's login. */
  readonly target: ConnectionTarget;
  readonly administrator: Administrator;
  /** The administrator's session, in which PostgreSQL refuses to write. */
  readonly sql: Sql;
  readonly isStandby: boolean;
  /** What a restart has proved. */
  readonly survival: Finding;
  /** The invariants that do not hold. */
  readonly violations: () => Promise<readonly Violation[]>;
  /**
   * The event store as `connect()` opens it, with the application's credentials.
   *
   * @throws {ScriptError} if they cannot be read, or must not be sent to the server at that address
   */
  readonly store: () => Promise<EventStore>;
  /** The container of the server, in compose mode. */
  readonly container: () => Promise<ContainerFacts>;
}

/** One item of `verify`. */
export interface Check {
  readonly id: string;
  readonly title: string;
  run(context: VerifyContext): Promise<Finding>;
}

/** How to open a context. */
export interface ContextOptions {
  readonly limits: VerifyLimits;
  readonly survival: Finding;
}

const applicationName = "cqrs-postgres verify";

/** No check waits longer for a lock of an application or of a migration. */
const restrictions = "set default_transaction_read_only = on; set lock_timeout = '500ms'";

/**
 * Opens the sessions that the checks use, and closes them.
 *
 * @throws {ScriptError} `NOT_RUNNING`, `NOT_READY`, `NO_DATABASE` (exit 3), `AUTHENTICATION` (exit 6)
 */
export async function withContext<Result>(
  stack: Stack,
  run: RunContext,
  { limits, survival }: ContextOptions,
  work: (context: VerifyContext) => Promise<Result>,
): Promise<Result> {
  const target = await administratorTarget(stack);
  const settings = { applicationName, searchPath: "pg_catalog", signal: run.signal };
  await using main = openConnection(target, settings);
  // The invariants read the whole log; the other checks need not wait for them.
  await using second = openConnection(target, settings);
  await using stores = makeStores(stack);
  try {
    const { administrator } = await openSession(main.sql);
    for (const { sql } of [main, second]) await sql.unsafe(restrictions).simple();
    const [row] = await main.sql<{ isStandby: boolean }[]>`select pg_is_in_recovery() as "isStandby"`;
    return await work({
      ...{ stack, run, limits, survival, target, administrator, sql: main.sql },
      isStandby: row?.isStandby === true,
      violations: once(() => readViolations(second.sql)),
      store: stores.open,
      container: once(() => inspectServer(stack, run)),
    });
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** The store is opened when the first check needs it. */
function makeStores(stack: Stack): AsyncDisposable & { readonly open: VerifyContext["store"] } {
  const opened: EventStore[] = [];
  const open = once(async () => {
    const { password, requireScram = false, ...target } = await applicationTarget(stack);
    await checkOwnServer(stack, target);
    const credentials = () => ({ user: target.user, password, requireScram });
    // The address may be that of a pooler, which cannot track prepared statements.
    const options = { applicationName, prepare: false, logger: false } as const;
    const store = openEventStore({ ...target, ...options, database: stack.database, credentials });
    opened.push(store);
    return store;
  });
  return {
    open,
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store[Symbol.asyncDispose]();
    },
  };
}
