// How long the scripts take, as whole processes: `bun run bench startup [rounds]`.
//
// Aims, on two quiet cores: cold bootstrap < 2 s, warm < 0.5 s, no-op schema apply < 150 ms, --help < 60 ms.
import process from "node:process";
import { alternate, type Variant } from "../support/benchmark.ts";
import { reportTimes, timeProcess } from "../support/benchmark-process.ts";
import { locateDeno } from "../support/deno.ts";
import { denoPermissions } from "../support/runtime.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";

const runtimes: Readonly<Record<string, readonly string[]>> = {
  bun: [process.execPath],
  deno: [locateDeno(), "run", "-q", ...denoPermissions],
};

/** Prints the time of bootstrap, schema apply and --help on each runtime. */
export async function benchmarkStartup(rounds: number): Promise<void> {
  await using warm = await makeTestStack();
  await run("bun", ["bootstrap"], warm);
  const variants = Object.keys(runtimes).flatMap((runtime): Variant<number>[] => [
    { name: `${runtime} bootstrap, cold`, measure: () => coldBootstrap(runtime) },
    { name: `${runtime} bootstrap, warm`, measure: () => run(runtime, ["bootstrap"], warm) },
    { name: `${runtime} schema apply, nothing to do`, measure: () => run(runtime, ["schema", "apply"], warm) },
    { name: `${runtime} bootstrap --help`, measure: () => run(runtime, ["bootstrap", "--help"], warm) },
  ]);
  reportTimes(await alternate(variants, rounds));
}

async function coldBootstrap(runtime: string): Promise<number> {
  await using stack = await makeTestStack();
  return await run(runtime, ["bootstrap"], stack);
}

function run(runtime: string, [script, ...args]: readonly string[], stack: TestStack): Promise<number> {
  const command = [...(runtimes[runtime] ?? []), `scripts/${script}.ts`, ...args];
  return timeProcess(command, { CQRS_STACK_DIR: stack.stackDir });
}
