import { existsSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import type { StackState } from "../state.ts";

/**
 * Refuses the containers of another folder, whose data would be read, changed and deleted. Folders that are gone do not
 * count: their stack was moved here, or is nobody's.
 *
 * @param name the name of the compose project
 * @param directory the folder of this stack
 * @param labels the folders that the containers were started from
 * @throws {ScriptError} `OTHER_CONTAINERS` (exit 8)
 */
export function refuseOtherContainers(name: string, directory: string, labels: readonly string[]): void {
  const other = labels.find((label) => label !== "" && existsSync(label) && !isSame(label, directory));
  if (other === undefined) return;
  const takeOver = ` To use their data here, remove the containers first: docker compose -p ${name} down.`;
  throw otherContainers(name, `Its containers were started from ${other}.`, takeOver);
}

/** @returns the remembered stack of another folder that still exists: the state was copied from there */
export function findCopied(stackDir: string, remembered: StackState | undefined): StackState["compose"] {
  const known = remembered?.compose;
  if (known === undefined || isSame(known.directory, stackDir)) return undefined;
  return existsSync(join(known.directory, "state.json")) ? known : undefined;
}

/** @throws {ScriptError} `OTHER_CONTAINERS` (exit 8) if the name is still that of the original */
export function refuseCopiedName(name: string, original: NonNullable<StackState["compose"]>): void {
  if (name === original.name) throw otherContainers(name, `This folder is a copy of the stack ${original.directory}.`);
}

/** @returns the error of a compose project whose volumes were made from another folder (exit 8) */
export function otherVolumes(name: string): ScriptError {
  const why = "Its volumes were made from another folder, or the file .stack-id in this folder's archives was deleted.";
  const takeOver = ` To use their data here, run docker compose -p ${name} run --rm -e CQRS_TAKE_OVER=yes keys.`;
  return otherContainers(name, why, takeOver);
}

function isSame(one: string, other: string): boolean {
  return resolveLinks(one) === resolveLinks(other);
}

function resolveLinks(folder: string): string {
  return existsSync(folder) ? realpathSync(folder) : folder;
}

function otherContainers(name: string, why: string, takeOver = ""): ScriptError {
  return new ScriptError({
    code: "OTHER_CONTAINERS",
    exitCode: exitCodes.refused,
    message: `The compose project ${name} belongs to another folder`,
    why,
    fix:
      "For a database of its own, set COMPOSE_PROJECT_NAME, POSTGRES_PORT and VAULT_PORT in this project's .env, " +
      `then run ${runLine("bootstrap")} --mode compose.${takeOver}`,
  });
}
