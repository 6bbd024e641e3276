// Restores an archive into a new database, checks it, and replaces the old database with it.
// Reads: configuration, an archive, sql/. Writes: the database; the old one is kept until --drop-old.
// Exits: 0 · 2 usage · 3 not running · 4 drift · 5 locked · 6 login refused · 8 refused, newer archive, or target not
// empty · 9 disk full · 11 damaged archive

import { describeSource } from "./lib/backup/format-archives.ts";
import type { RestorePlan } from "./lib/backup/restore.ts";
import { describeDrop, describeRestore } from "./lib/backup/restore-questions.ts";
import { usageError } from "./lib/cli/errors.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: { name: "restore", description: "Restores an archive. The database that it replaces is kept." },
  args: {
    archive: { type: "positional", description: "Name or path, latest, or - for a tar from stdin" },
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    from: { type: "string", valueHint: "folder", description: "Folder that contains the archives" },
    into: {
      type: "string",
      valueHint: "name",
      description: "Restore into another database, which must be new or empty",
    },
    "drop-old": {
      type: "boolean",
      description: "Drop the replaced database; without an archive, drop those kept earlier",
    },
    migrate: { type: "boolean", description: "Apply migrations that are newer than the archive" },
    only: {
      type: "choice",
      options: ["event_store"],
      description: "Restore only this schema and leave the others empty",
    },
    "until-position": { type: "number", min: 0, description: "Restore no event after this position; implies --only" },
    "until-time": {
      type: "string",
      valueHint: "time",
      description: "Restore no event after this time; implies --only",
    },
    "key-file": { type: "string", valueHint: "file", description: "The key that decrypts the archive" },
    "dry-run": { type: "boolean", description: "Check everything, write nothing" },
    yes: { type: "boolean", alias: "y", description: "Replace or drop databases without asking" },
  },
  examples: [
    [runLine("restore latest"), "Replace the database with the latest archive"],
    [runLine("restore latest --into copy --dry-run"), "Check the archive without restoring it"],
    [runLine("restore latest --until-time 2026-11-25T03:15:00Z"), "Restore the log as of that time"],
    [runLine("restore --drop-old"), "Show the databases that earlier restores kept, then ask and drop them"],
  ],
  check(args) {
    if (args.archive === undefined && !args["drop-old"]) throw usageError("restore needs an archive", passLatest);
    parseUntil(args["until-position"], args["until-time"]);
  },
  async run({ args, stack, reporter, signal, confirm }) {
    const { dropKeptDatabases, restoreArchive } = await import("./lib/backup/restore.ts");
    const { archive, from, into, migrate } = args;
    if (archive === undefined) {
      const confirmDrop = (names: readonly string[]) => confirm(describeDrop(names));
      return { dropped: await dropKeptDatabases(stack, confirmDrop, { reporter, signal }) };
    }
    const until = parseUntil(args["until-position"], args["until-time"]);
    using progress = reporter.transfer("restore");
    const options = {
      archive,
      from,
      keyFile: args["key-file"],
      into,
      dropOld: args["drop-old"],
      migrate,
      onlyEventStore: args.only !== undefined || until !== undefined,
      until,
      dryRun: args["dry-run"],
      confirm: (plan: RestorePlan) => confirm(describeRestore(plan)),
      onProgress: progress.show,
    };
    return await restoreArchive(stack, options, { reporter, signal });
  },
  print(result, output) {
    if ("dropped" in result) return output.result(`dropped ${result.dropped.join(", ") || "nothing"}`);
    const verb = result.isRestored ? "restored" : "would restore";
    output.result(`${verb} ${result.rows} rows of ${describeSource(result.archive)} into ${result.database}`);
    if (result.isRestored && result.kept !== null) output.result(describeKept(result.kept));
    if (result.redacted === 0) return;
    output.result(`events redacted again: ${result.redacted}; rebuild the read models that contain their data`);
  },
});

const passLatest = `Pass one, for example: ${runLine("restore")} latest.`;

function parseUntil(position: number | undefined, time: string | undefined) {
  if (position !== undefined && time !== undefined)
    throw usageError("--until-position and --until-time cannot be combined");
  if (position !== undefined) return { position: BigInt(position) };
  if (time === undefined) return undefined;
  if (Number.isNaN(Date.parse(time))) throw usageError("--until-time must be a time such as 2026-11-25T03:15:00Z");
  return { time: new Date(time).toISOString() };
}

function describeKept(name: string): string {
  return `the old database is kept as ${name}; to drop all that are kept, run ${runLine("restore")} --drop-old`;
}

if (import.meta.main) await runAsProcess(command);
