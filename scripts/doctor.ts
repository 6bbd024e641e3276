// Finds what is wrong, from symptom to cause to the command that fixes it; with --fix, runs the safe fixes.
// Reads: configuration, the stack directory, the ports, Docker, the secret store, the database.
// Writes: nothing; with --fix, what its list names.
// Exits: 0 no problem found · 2 wrong usage · 8 refused without --yes · 11 problems remain

import { defineScript } from "./lib/cli/define-script.ts";
import { sharedFlags, stackFlags } from "./lib/cli/flags.ts";
import type { Output } from "./lib/cli/output.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { exitCodes, ScriptError } from "./lib/cli/script-error.ts";
import type { DoctorReport } from "./lib/doctor/report.ts";

const settings = { mode: stackFlags.mode, database: stackFlags.database, timeout: stackFlags.timeout };

export const command = defineScript({
  meta: { name: "doctor", description: "Finds what is wrong, from symptom to cause to the command that fixes it." },
  args: {
    ...settings,
    fix: { type: "boolean", description: "Run the safe fixes, after asking" },
    yes: { type: "boolean", alias: "y", description: "Run them without asking" },
  },
  examples: [
    [runLine("doctor"), "Find out why something does not work"],
    [runLine("doctor --fix"), "Also run the safe fixes, after asking"],
    [runLine("doctor --json"), "The same for programs; exits with 11 on problems"],
  ],
  async run({ args, confirm, reporter, signal }): Promise<DoctorReport> {
    const { settingsOf } = await import("./lib/stack/define-stack-script.ts");
    const { diagnoseFlags } = await import("./lib/doctor/doctor.ts");
    const { repairAll } = await import("./lib/doctor/repair.ts");
    const { reportOf } = await import("./lib/doctor/report.ts");
    const flags = settingsOf(args, { ...sharedFlags, ...settings });
    const run = { reporter, signal };
    const diagnosis = await diagnoseFlags(flags, run);
    if (!args.fix) return reportOf(diagnosis);
    const repairs = await repairAll(diagnosis, run, { confirm });
    return reportOf(repairs.length === 0 ? diagnosis : await diagnoseFlags(flags, run), repairs);
  },
  print: printReport,
  failure: describeFailure,
});

function printReport({ findings, notChecked }: DoctorReport, output: Output): void {
  for (const { id, symptom, cause, evidence, fix, repair } of findings) {
    output.result(`${output.style("red", id)} (${symptom.replaceAll("-", " ")}): ${cause}`);
    for (const line of evidence.split("\n")) output.result(`    ${line}`);
    output.result(`    fix: ${fix}${repair === null ? "" : " Or use --fix."}`);
  }
  for (const [reason, areas] of Map.groupBy(notChecked, (one) => one.reason))
    output.result(`not checked: ${areas.map(({ area }) => area).join(", ")}: ${reason}`);
  if (findings.length === 0) output.result(`no problem found${notChecked.length === 0 ? "" : " in what was checked"}`);
}

function describeFailure({ findings, repairs }: DoctorReport): ScriptError | undefined {
  if (findings.length === 0) return undefined;
  const canRepair = repairs.length === 0 && findings.some(({ repair }) => repair !== null);
  return new ScriptError({
    code: "DIAGNOSIS",
    exitCode: exitCodes.verification,
    message: `${findings.length} ${findings.length === 1 ? "problem" : "problems"}: ${findings.map(({ id }) => id).join(", ")}`,
    fix: canRepair ? `Run ${runLine("doctor --fix")}, or do what the list says.` : "Do what the list says.",
  });
}

if (import.meta.main) await runAsProcess(command);
