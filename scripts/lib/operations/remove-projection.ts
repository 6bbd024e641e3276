import type { Confirmation } from "../cli/confirm.ts";
import { usageError } from "../cli/errors.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Config } from "../config.ts";
import { planRemoval, type Removal, removeProjection, type StoredVersion } from "../event-store/projection/remove.ts";
import { withStackStore } from "../stack/projections.ts";

/** What to remove. */
interface RemovalOptions {
  readonly name: string | undefined;
  /** @default all versions */
  readonly version: number | undefined;
}

/**
 * Removes a projection from the database once the user has agreed.
 *
 * @throws {ScriptError} `NO_PROJECTION` (exit 2), `PROJECTION_RUNNING` (exit 5), `REFUSED` (exit 8)
 */
export async function removeStored(
  config: Config,
  { name, version }: RemovalOptions,
  confirm: (confirmation: Confirmation) => Promise<void>,
): Promise<Removal & { readonly name: string }> {
  if (name === undefined) throw usageError("remove needs the name of a projection");
  return await withStackStore(config, async (store) => {
    const plan = await planRemoval(store, name, version);
    if (plan.versions.length === 0) throw notStored(name, version);
    await confirm({
      plan: plan.versions.map((stored) => describeVersion(name, stored)).join("\n"),
      question: "Remove it?",
      refusal: "Nothing was removed",
      data: { name, versions: [] },
    });
    return { name, ...(await removeProjection(store, name, version)) };
  });
}

function describeVersion(name: string, { version, status, relations, deadLetters }: StoredVersion): string {
  const tables = relations.length === 0 ? "no tables" : relations.join(", ");
  return `removes: ${name} version ${version}, ${status} (${tables}; dead letters: ${deadLetters})`;
}

function notStored(name: string, version: number | undefined): ScriptError {
  return new ScriptError({
    code: "NO_PROJECTION",
    exitCode: exitCodes.usage,
    message: `There is no ${version === undefined ? "" : `version ${version} of the `}projection ${name}`,
    why: "The database knows only those that have run.",
    fix: `Run ${runLine("projections list")}`,
  });
}
