// Applies the schema files, checks them, or shows the schema.
// Reads: configuration, sql/, the project's SQL folder, the database. Writes: the database; new and repair: that folder.
// Exits: 0 · 1 a file failed · 2 configuration · 3 not running · 4 drift · 5 locked · 6 login refused ·
// 7 findings (schema lint) · 8 not confirmed · 9 a pooler · 10 files are pending (schema status --exit-code) ·
// 11 a check failed (schema verify)
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { apply } from "./schema/apply.ts";
import { create } from "./schema/create.ts";
import { dump } from "./schema/dump.ts";
import { lint } from "./schema/lint.ts";
import { repair } from "./schema/repair.ts";
import { status } from "./schema/status.ts";
import { verify } from "./schema/verify.ts";

export const command = defineScriptGroup({
  meta: { name: "schema", description: "Applies the schema files, checks them, or shows the schema." },
  examples: [
    [runLine("schema new add-invoices"), "Begin a migration of the project"],
    [runLine("schema apply"), "Apply pending files"],
    [runLine("schema status"), "Show what is applied"],
  ],
  subCommands: { apply, status, verify, new: create, repair, lint, dump },
});

if (import.meta.main) await runAsProcess(command);
