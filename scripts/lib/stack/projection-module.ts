import { statSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { exitCodes, ScriptError, type ScriptErrorDetails } from "../cli/script-error.ts";
import { orderSummary } from "../demo/order-summary.ts";
import { InvalidInput } from "../event-store/errors.ts";
import { planUpcasts } from "../event-store/plan-upcasts.ts";
import type { ProjectionDefinition } from "../event-store/projection/definition.ts";
import type { Upcasters } from "../event-store/upcast.ts";

/** What a module exports for the commands. */
export interface ProjectionModule {
  readonly definitions: readonly ProjectionDefinition[];
  /** Its export `upcasters`. */
  readonly upcasters: Upcasters;
}

/**
 * Loads the projections that a module exports: objects with a name, a version and a handle. Its export `upcasters`
 * converts the events that they get.
 *
 * @param path relative to the working folder; by default the example of this package
 * @param name selects the projection of that name
 * @throws {ScriptError} `NO_PROJECTION`, `PROJECTION_REFUSED` (exit 2)
 */
export async function loadProjections(path: string | undefined, name: string | undefined): Promise<ProjectionModule> {
  const exported = path === undefined ? { orderSummary } : await importModule(resolve(process.cwd(), path));
  const found = Object.values(exported).filter(isDefinition);
  const chosen = found.filter((definition) => name === undefined || definition.name === name);
  if (chosen.length > 0) return { definitions: chosen, upcasters: readUpcasters(exported) };
  const names = found.map((definition) => definition.name).join(", ");
  throw noProjection({
    message: name === undefined ? `${path} exports no projection` : `There is no projection ${name}`,
    why: `${path ?? "The example"} exports: ${names || "none"}.`,
    fix: names === "" ? passModule : `Choose one of: ${names}.${path === undefined ? orPassModule : ""}`,
  });
}

function readUpcasters(exported: Readonly<Record<string, unknown>>): Upcasters {
  const upcasters = (exported["upcasters"] ?? {}) as Upcasters;
  try {
    planUpcasts(upcasters);
    return upcasters;
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error;
    throw new ScriptError({
      code: "PROJECTION_REFUSED",
      exitCode: exitCodes.usage,
      message: "The export upcasters of the module is no set of upcasters",
      why: `${error.message}.`,
      fix: "Export upcasters by event type and version: export const upcasters = { OrderPlaced: { 1: (data) => … } }",
    });
  }
}

const passModule = "Pass a module that exports objects with name, version and handle: --module ./projections.ts";
const orPassModule = " Or pass the module that exports it: --module <path>.";

function noProjection(details: Pick<ScriptErrorDetails, "message" | "why" | "fix">): ScriptError {
  return new ScriptError({ code: "NO_PROJECTION", exitCode: exitCodes.usage, ...details });
}

async function importModule(path: string): Promise<Record<string, unknown>> {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
    throw noProjection({
      message: `There is no module ${path}`,
      fix: "Pass the path of a module that exports projections, relative to the working folder.",
    });
  }
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    throw noProjection({
      message: `The module ${path} cannot be loaded`,
      why: describeLoadError(error),
      fix: "Fix the error in it.",
    });
  }
}

/** Bun collects the syntax errors of a module in an AggregateError; Deno colours the path. */
export function describeLoadError(error: unknown): string {
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
  const lines = errors.map((one) => {
    const { message = String(one), position } = (one ?? {}) as LoadError;
    return position?.file === undefined ? message : `${position.file}:${position.line}:${position.column}: ${message}`;
  });
  return stripVTControlCharacters(lines.join("\n"));
}

/** An error of loading a module; on Bun with its position. */
interface LoadError {
  readonly message?: string;
  readonly position?: { readonly file?: string; readonly line: number; readonly column: number } | null;
}

function isDefinition(value: unknown): value is ProjectionDefinition {
  const { name, version, events, handle } = (value ?? {}) as Partial<Record<keyof ProjectionDefinition, unknown>>;
  const isNamed = typeof name === "string" && typeof version === "number";
  return isNamed && (events === undefined || Array.isArray(events)) && typeof handle === "function";
}
