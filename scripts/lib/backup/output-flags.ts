import { usageError } from "../cli/errors.ts";

/** The flags of `backup` that say where and how to write. */
interface OutputFlags {
  readonly output: string | undefined;
  readonly to: string | undefined;
  readonly incremental: boolean;
  readonly json: boolean;
}

/** @throws {ScriptError} `USAGE` (exit 2) if flags contradict each other */
export function checkOutputFlags({ output, to, incremental, json }: OutputFlags): void {
  if (output === undefined) return;
  if (output !== "-" && !output.endsWith(".tar")) throw usageError("--output takes a name that ends in .tar, or -");
  if (to !== undefined) throw usageError("--to or --output, not both");
  if (incremental) throw usageError("--incremental needs a folder: a restore looks for its base there");
  if (output === "-" && json) throw usageError("--output - leaves no stdout for --json");
}
