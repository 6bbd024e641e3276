import { defineScript } from "../lib/cli/define-script.ts";
import { stackFlags } from "../lib/cli/flags.ts";
import type { Output } from "../lib/cli/output.ts";
import { runLine } from "../lib/cli/run-line.ts";
import { exitCodes } from "../lib/cli/script-error.ts";
import type { LintResult } from "../lib/schema/lint/lint.ts";

export const lint = defineScript({
  meta: { name: "lint", description: "Finds what can block, break or lose data, without a database." },
  args: {
    file: { type: "positional", valueHint: "file…", description: "SQL files; default: those of the project" },
    dir: stackFlags.dir,
  },
  examples: [
    [runLine("schema lint"), "Check the project's migrations and routines"],
    [runLine("schema lint sql/app/migrations/0003-add-invoices.sql"), "Check one file, as a pre-commit hook does"],
  ],
  async run({ args, operands }): Promise<LintResult> {
    const { loadConfig } = await import("../lib/config.ts");
    const { readNamedFile, readProjectFiles } = await import("../lib/schema/lint/files.ts");
    const { lintFiles } = await import("../lib/schema/lint/lint.ts");
    const files = await readProjectFiles(loadConfig(args).sqlDir);
    if (operands.length === 0) return lintFiles(files);
    const named = new Map((await Promise.all(operands.map(readNamedFile))).map((file) => [file.path, file]));
    const others = [...named.values()].filter(({ path }) => !files.some((file) => file.path === path));
    return lintFiles([...files, ...others], ({ path }) => named.has(path));
  },
  print: printFindings,
  exitCode: ({ findings }) => (findings.length > 0 ? exitCodes.lint : exitCodes.ok),
});

function printFindings({ findings, checked }: LintResult, output: Output): void {
  for (const { file, line, column, rule, message, why, better } of findings) {
    output.result(`${file}:${line}:${column} ${rule}: ${message}\n  ${why}\n  Better: ${better}`);
  }
  const count = (amount: number, noun: string) => `${amount} ${noun}${amount === 1 ? "" : "s"}`;
  const found = findings.length === 0 ? "no findings" : count(findings.length, "finding");
  output.result(`${found} in ${count(checked, "file")}`);
}
