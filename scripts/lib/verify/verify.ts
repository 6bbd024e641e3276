import { runLine } from "../cli/run-line.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { backupChecks } from "./backup.ts";
import { type CheckedItem, type Finding, failedWith } from "./check.ts";
import { type Check, defaultLimits, type VerifyContext, type VerifyLimits, withContext } from "./context.ts";
import { credentialChecks } from "./credentials.ts";
import { logChecks } from "./log.ts";
import { projectionChecks } from "./projections.ts";
import { notRestarted } from "./restart.ts";
import { roleChecks } from "./roles.ts";
import { schemaChecks } from "./schema.ts";
import { serverChecks } from "./server.ts";
import { settingsChecks } from "./settings.ts";
import { storageChecks } from "./storage.ts";

/** The result of `verify`. */
export interface Verification {
  /** Whether no check failed. */
  readonly ok: boolean;
  readonly checks: readonly CheckedItem[];
}

/** How to verify. */
export interface VerifyOptions {
  /** What a restart has proved; by default, there was none. */
  readonly survival?: Finding;
  readonly limits?: Partial<VerifyLimits>;
  /** Ids of the checks to run; @default all */
  readonly only?: readonly string[];
}

/** In the order of their numbers. Programs know the ids, so a new check is added where it fits. */
export const allChecks: readonly Check[] = [
  ...serverChecks,
  ...storageChecks,
  ...settingsChecks,
  ...schemaChecks,
  ...roleChecks,
  ...credentialChecks,
  ...logChecks,
  ...projectionChecks,
  ...backupChecks,
  { id: "restart", title: "The data survives a restart", run: async ({ survival }) => survival },
];

const numbered = allChecks.map((check, index) => ({ ...check, number: index + 1 }));

/** After this time, a line reports what is still being checked. */
const silenceMs = 1_000;

/**
 * Checks everything that a working stack has. Changes nothing: what has to be tried is rolled back.
 *
 * @throws {ScriptError} if nothing can be checked: `NOT_RUNNING`, `NOT_READY`, `NO_DATABASE` (exit 3), `AUTHENTICATION`
 * (exit 6)
 */
export async function verifyStack(stack: Stack, run: RunContext, options: VerifyOptions = {}): Promise<Verification> {
  const limits = { ...defaultLimits, ...options.limits };
  const survival = options.survival ?? notRestarted;
  const chosen = numbered.filter(({ id }) => options.only?.includes(id) ?? true);
  const checks = await withContext(stack, run, { limits, survival }, (context) => runAll(chosen, context));
  return { ok: checks.every(({ result }) => result !== "failed"), checks };
}

async function runAll(chosen: typeof numbered, context: VerifyContext): Promise<CheckedItem[]> {
  const waiting = new Set(chosen.map(({ id }) => id));
  const report = () => context.run.reporter.info(`still checking: ${[...waiting].join(", ")}`);
  const timer = setTimeout(report, silenceMs);
  try {
    const items = chosen.map(async ({ number, id, title, run }) => {
      const finding = await runCheck(run, context);
      waiting.delete(id);
      return { number, id, title, ...finding };
    });
    return await Promise.all(items);
  } finally {
    clearTimeout(timer);
  }
}

async function runCheck(run: Check["run"], context: VerifyContext): Promise<Finding> {
  try {
    return await run(context);
  } catch (error) {
    context.run.signal.throwIfAborted();
    return failedWith(error, `Run ${runLine("bootstrap")}.`);
  }
}
