import { resolve } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";

/** The runtime that runs the tests. Scripts are started with the same one. */
export const runtimeName: "bun" | "deno" | "node" =
  "Bun" in globalThis ? "bun" : "Deno" in globalThis ? "deno" : "node";

/** The permissions that scripts/README.md lists for Deno. No script needs more. */
export const denoPermissions: readonly string[] = [
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-run",
  "--allow-sys",
  "--allow-net=127.0.0.1,localhost",
];

/**
 * @param file absolute, or relative to the project
 * @returns the command that runs a TypeScript file on this runtime
 */
export function runtimeCommand(file: string): string[] {
  const path = resolve(assetsDir, file);
  return runtimeName === "deno" ? [process.execPath, "run", "-q", ...denoPermissions, path] : [process.execPath, path];
}

/** The number of rounds of a test that kills, races or guesses: `few`, unless CQRS_TEST_ROUNDS is set. */
export function testRounds(few: number): number {
  const rounds = Number(process.env["CQRS_TEST_ROUNDS"] || few);
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Error("CQRS_TEST_ROUNDS must be a positive number");
  return rounds;
}
