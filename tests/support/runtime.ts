import { resolve } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";

/** The runtime that these tests run on; scripts are started with the same one. */
export const runtimeName: "bun" | "deno" = "Bun" in globalThis ? "bun" : "deno";

/** What the README lists for Deno: nothing of the scripts needs more. */
export const denoPermissions: readonly string[] = [
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-run",
  "--allow-sys",
  "--allow-net=127.0.0.1,localhost",
];

/**
 * @param file absolute, or from the project's folder
 * @returns the words that run a file of TypeScript on this runtime
 */
export function runtimeCommand(file: string): string[] {
  const path = resolve(assetsDir, file);
  return runtimeName === "bun" ? [process.execPath, path] : [process.execPath, "run", "-q", ...denoPermissions, path];
}

/** How often a test that kills, races or guesses does so: `few`, or as often as CQRS_TEST_ROUNDS says. */
export function testRounds(few: number): number {
  const rounds = Number(process.env["CQRS_TEST_ROUNDS"] || few);
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Error("CQRS_TEST_ROUNDS must be a positive number");
  return rounds;
}
