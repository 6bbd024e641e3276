// Checks everything that a working stack has, and shows the evidence; with --restart, also that its data survives.
// Reads: configuration, the stack directory, the secret store, the database, the archives. Writes: nothing.
// Exits: 0 no check failed · 2 configuration · 3 not running · 5 locked · 6 login refused ·
// 8 another cluster, or refused without --yes · 9 files shared with another folder · 11 a check failed · 124 timeout

import { stackFlags } from "./lib/cli/flags.ts";
import type { Output } from "./lib/cli/output.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { exitCodes, ScriptError } from "./lib/cli/script-error.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";
import type { CheckedItem } from "./lib/verify/check.ts";
import type { Verification } from "./lib/verify/verify.ts";

export const command = defineStackScript({
  meta: { name: "verify", description: "Checks everything that a working stack has, and shows the evidence." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    restart: { type: "boolean", description: "Restart the server first, and compare the log before and after" },
    yes: { type: "boolean", alias: "y", description: "Restart without asking" },
  },
  examples: [
    [runLine("verify"), "Check the server, schema, roles, log, backups"],
    [runLine("verify --json"), "The same for CI; exits with 11 if a check fails"],
    [runLine("verify --restart"), "Also prove that data survives a restart"],
  ],
  async run({ args, stack, confirm, reporter, signal }): Promise<Verification> {
    const run = { reporter, signal };
    const { verifyStack } = await import("./lib/verify/verify.ts");
    if (!args.restart) return verifyStack(stack, run);
    const { planRestart, proveSurvival } = await import("./lib/verify/restart.ts");
    const plan = await planRestart(stack, run);
    await confirm({
      plan: `restarts: PostgreSQL on port ${plan.port}, which ends ${plan.sessions} sessions of applications`,
      question: "Restart it?",
      refusal: "Nothing was restarted",
      data: plan,
    });
    return verifyStack(stack, run, { survival: await proveSurvival(stack, run) });
  },
  print: printVerification,
  failure: describeFailure,
});

function printVerification({ checks }: Verification, output: Output): void {
  const width = Math.max(...checks.map(({ number }) => `${number}`.length));
  for (const check of checks) {
    const { number, title, evidence, why, fix } = check;
    output.result(`${`${number}`.padStart(width)}. ${mark(check, output)} ${title}: ${evidence}`);
    const indent = " ".repeat(width + 10);
    if (why !== null) output.result(`${indent}why: ${why.replaceAll("\n", `\n${indent}     `)}`);
    if (fix !== null) output.result(`${indent}fix: ${fix}`);
  }
}

const styles = { ok: "green", failed: "red", skipped: "gray" } as const;

function mark({ result }: CheckedItem, output: Output): string {
  return output.style(styles[result], result.padEnd("skipped".length));
}

function describeFailure({ checks }: Verification): ScriptError | undefined {
  const bad = checks.filter(({ result }) => result === "failed");
  const [first] = bad;
  if (first === undefined) return undefined;
  return new ScriptError({
    code: "VERIFICATION",
    exitCode: exitCodes.verification,
    message: `${bad.length} of ${checks.length} checks failed: ${bad.map(({ id }) => id).join(", ")}`,
    fix: bad.length === 1 ? (first.fix ?? undefined) : "Do what the list says for each of them.",
  });
}

if (import.meta.main) await runAsProcess(command);
