import { usageError } from "../cli/errors.ts";

/** The flags of `backup` that say where and how to write. */
interface OutputFlags {
  readonly output: string | undefined;
  readonly to: string | undefined;
  readonly incremental: boolean;
  readonly json: boolean;
}

/** @throws {ScriptError} `USAGE` (exit 2) if flags cannot be combined */
export function checkOutputFlags({ output, to, incremental, json }: OutputFlags): void {
  if (output === undefined) return;
  if (output !== "-" && !output.endsWith(".tar"))
    throw usageError("--output must be a file name that ends in .tar, or -");
  if (to !== undefined) throw usageError("--to and --output cannot be combined");
  if (incremental)
    throw usageError("--incremental and --output cannot be combined: a restore looks for the base in the same folder");
  if (output === "-" && json) throw usageError("--output - and --json cannot be combined: both write to stdout");
}
