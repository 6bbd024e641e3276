// Restores an archive into a new database, checks it, and replaces the old database with it.
// Reads: configuration, an archive, sql/. Writes: the database; the old one stays until --drop-old.
// Exits: 0 · 2 usage · 3 not running · 4 drift · 5 locked · 6 login refused · 8 refused, newer archive, or target not
// empty · 9 no room · 11 damaged archive
import type { RestorePlan } from "./lib/backup/restore.ts";
import { usageError } from "./lib/cli/errors.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: { name: "restore", description: "Restores an archive. The database that it replaces is kept." },
  args: {
    archive: { type: "positional", description: "Name, path, latest, or - for a tar from stdin" },
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    from: { type: "string", valueHint: "folder", description: "The folder of the archives" },
    into: { type: "string", valueHint: "name", description: "Restore into another database, new or empty" },
    "drop-old": { type: "boolean", description: "Drop the replaced database; alone: those that restores have kept" },
    migrate: { type: "boolean", description: "Apply migrations that are newer than the archive" },
    only: { type: "choice", options: ["event_store"], description: "Leave the other schemas empty" },
    "until-position": { type: "number", min: 0, description: "The last event to restore; implies --only" },
    "until-time": { type: "string", valueHint: "time", description: "Restore no later event; implies --only" },
    "key-file": { type: "string", valueHint: "file", description: "The key of an encrypted archive" },
    "dry-run": { type: "boolean", description: "Check everything, write nothing" },
    yes: { type: "boolean", alias: "y", description: "Replace the database without asking" },
  },
  examples: [
    ["bun run restore latest", "Replace the database with the latest archive"],
    ["bun run restore latest --into copy --dry-run", "Check it, and restore nothing"],
    ["bun run restore latest --until-time 2026-11-25T03:15:00Z", "Restore the log as it was then"],
    ["bun run restore --drop-old", "Drop the databases that restores have kept"],
  ],
  check(args) {
    if (args.archive === undefined && !args["drop-old"]) throw usageError("restore needs an archive", latest);
    parseUntil(args["until-position"], args["until-time"]);
  },
  async run({ args, stack, reporter, signal, confirm }) {
    const { dropKeptDatabases, restoreArchive } = await import("./lib/backup/restore.ts");
    const { archive, from, into, migrate } = args;
    if (archive === undefined) return { dropped: await dropKeptDatabases(stack, { reporter, signal }) };
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
      async confirm(plan: RestorePlan) {
        if (plan.eventsNow !== null) await confirm(describeRestore(plan, archive));
      },
      onProgress: progress.show,
    };
    return await restoreArchive(stack, options, { reporter, signal });
  },
  print(result, output) {
    if ("dropped" in result) return output.result(`dropped ${result.dropped.join(", ") || "nothing"}`);
    const verb = result.isRestored ? "restored" : "could restore";
    output.result(`${verb} ${result.rows} rows of ${result.archive} into ${result.database}`);
    if (result.isRestored && result.kept !== null) output.result(`the old database is ${result.kept}`);
    if (result.redacted === 0) return;
    output.result(`events redacted again: ${result.redacted}; rebuild the read models that contain their data`);
  },
});

const latest = "Run bun run restore latest";

function parseUntil(position: number | undefined, time: string | undefined) {
  if (position !== undefined && time !== undefined) throw usageError("--until-position or --until-time, not both");
  if (position !== undefined) return { position: BigInt(position) };
  if (time === undefined) return undefined;
  if (Number.isNaN(Date.parse(time))) throw usageError("--until-time takes a time such as 2026-11-25T03:15:00Z");
  return { time: new Date(time).toISOString() };
}

function describeRestore(plan: RestorePlan, archive: string) {
  const { database, eventsNow, endedAt, rows, kept } = plan;
  const stays = kept === null ? "it is dropped" : `it stays as ${kept}`;
  return {
    plan: `to be replaced: ${database} (events: ${eventsNow}; ${stays})\nby: ${plan.archive} of ${endedAt} (${rows} rows)`,
    question: "Replace it?",
    refusal: "Nothing was restored",
    command: `bun run restore ${archive} --yes`,
    data: { ...plan, isRestored: false },
  };
}

if (import.meta.main) await runAsProcess(command);
