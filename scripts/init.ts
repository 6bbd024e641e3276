// Adds what a project needs: a line in .gitignore, package scripts, a sample with tests. Changes nothing that exists.
// Reads: package.json or deno.json, .gitignore. Writes: both, and cqrs/ if it does not exist.
// Exits: 0 · 2 no project, or an invalid package.json · 8 refused without --yes, or in a clone · 9 a file cannot be
// written
import { defineScript } from "./lib/cli/define-script.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import type { FileChange } from "./lib/operations/init-project.ts";

export const command = defineScript({
  meta: { name: "init", description: "Adds package scripts and a sample to a project. Existing files stay." },
  args: { yes: { type: "boolean", alias: "y", description: "Change files without asking" } },
  examples: [
    [runLine("init"), "Show what would be added, then ask"],
    [runLine("init --yes"), "Add it without asking"],
  ],
  async run({ args, confirm }) {
    const { findProject } = await import("./lib/project.ts");
    const { environment } = await import("./lib/runtime.ts");
    const { applyChanges, planInit, programLine } = await import("./lib/operations/init-project.ts");
    const { projectDir } = findProject(args.project, environment());
    const { changes, notes } = await planInit(projectDir);
    const plan = [`in ${projectDir}:`, ...changes.map(describe)].join("\n");
    const summary = { projectDir, notes, changes: changes.map(({ path, isNew }) => ({ path, isNew })) };
    const data = { ...summary, isChanged: false, program: undefined };
    if (changes.length === 0) return data;
    await confirm({ plan, question: "Change these files?", refusal: "Nothing was changed", data });
    await applyChanges(projectDir, changes);
    return { ...data, isChanged: true, program: programLine(changes) };
  },
  print({ projectDir, isChanged, notes, program }, output) {
    for (const note of notes) output.warn(note);
    output.result(isChanged ? `initialised ${projectDir}` : `nothing to change in ${projectDir}`);
    output.result(`${runLine("bootstrap")}  starts the database`);
    if (program !== undefined) output.result(`${program}  then appends an event and prints what it projects`);
  },
});

function describe({ path, isNew, detail }: FileChange): string {
  return `${isNew ? "creates" : "changes"}  ${path}  ${detail}`;
}

if (import.meta.main) await runAsProcess(command);
