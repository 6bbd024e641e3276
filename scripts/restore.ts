// Restores an archive: into a new database, which takes the place of the old one when everything was checked.
// Reads: configuration, an archive, sql/. Writes: the database; the old one stays beside it until --drop-old.
// Exits: 0 · 2 usage · 3 not running · 4 drift · 5 locked · 6 login refused · 8 refused, newer archive, target not empty · 9 no room · 11 damaged

import type { RestorePlan } from "./lib/backup/restore.ts";
import { defineScript } from "./lib/cli/define-script.ts";
import { stackFlags, usageError } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";

export const command = defineScript({
  meta: { name: "restore", description: "Restore an archive; the database that it replaces is kept" },
  args: {
    archive: { type: "positional", required: false, description: "Its name or path, - for stdin, or latest" },
    mode: stackFlags.mode,
    database: stackFlags.database,
    timeout: stackFlags.timeout,
    from: { type: "string", valueHint: "folder", description: "Where archives are kept" },
    into: { type: "string", valueHint: "name", description: "Restore into another database, new or empty" },
    "drop-old": { type: "boolean", description: "Drop the replaced database; alone: those kept by earlier restores" },
    migrate: { type: "boolean", description: "Apply migrations that are newer than the archive" },
    only: { type: "string", valueHint: "event_store", description: "Restore the event store; leave the rest empty" },
    "until-position": { type: "string", valueHint: "number", description: "The last event to restore; implies --only" },
    "until-time": { type: "string", valueHint: "time", description: "Restore no event that is later; implies --only" },
    "key-file": { type: "string", valueHint: "file", description: "A file with the key of an encrypted archive" },
    "dry-run": { type: "boolean", description: "Check everything, write nothing" },
  },
  async run({ args, reporter, signal, canAsk }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { dropKeptDatabases, restoreArchive, restoreRefused } = await import("./lib/backup/restore.ts");
    const until = parseUntil(args["until-position"], args["until-time"]);
    if (args.only !== undefined && args.only !== "event_store") throw usageError("--only takes event_store", undefined);
    const stack = await openStack(loadConfig(args));
    if (args.archive === undefined) {
      if (args["drop-old"] !== true) throw usageError("restore needs an archive", "bun run restore latest");
      return { dropped: await dropKeptDatabases(stack, { reporter, signal }) };
    }
    using progress = reporter.transfer("restore");
    const confirm = async (plan: RestorePlan) => {
      if (args.yes === true || plan.eventsNow === null) return;
      if (canAsk) reporter.info(describeRestore(plan));
      if (!canAsk || !(await ask())) throw restoreRefused(plan, describeRestore(plan));
    };
    const options = {
      archive: args.archive,
      from: args.from,
      keyFile: args["key-file"],
      into: args.into,
      dropOld: args["drop-old"] === true,
      migrate: args.migrate === true,
      onlyEventStore: args.only !== undefined || until !== undefined,
      until,
      dryRun: args["dry-run"] === true,
      confirm,
      onProgress: progress.show,
    };
    return restoreArchive(stack, options, { reporter, signal });
  },
  print(result, output) {
    if ("dropped" in result) return output.result(`dropped ${result.dropped.join(", ") || "nothing"}`);
    const verb = result.isRestored ? "restored" : "could restore";
    output.result(`${verb} ${result.rows} rows of ${result.archive} into ${result.database}`);
    if (result.isRestored && result.kept !== null) output.result(`the old database is ${result.kept}`);
    if (result.redacted === 0) return;
    output.result(`events redacted again: ${result.redacted}; rebuild the read models that hold their data`);
  },
});

function parseUntil(position: string | undefined, time: string | undefined) {
  if (position !== undefined && time !== undefined)
    throw usageError("--until-position or --until-time, not both", undefined);
  if (position !== undefined) {
    if (!/^\d{1,18}$/.test(position)) throw usageError("--until-position takes the position of an event", undefined);
    return { position: BigInt(position) };
  }
  if (time === undefined) return undefined;
  if (Number.isNaN(Date.parse(time)))
    throw usageError("--until-time takes a time such as 2026-11-25T03:15:00Z", undefined);
  return { time: new Date(time).toISOString() };
}

async function ask(): Promise<boolean> {
  const { consola } = await import("consola");
  return (await consola.prompt("Replace it?", { type: "confirm", initial: false, cancel: "undefined" })) === true;
}

function describeRestore({ database, eventsNow, archive, endedAt, rows, kept }: RestorePlan): string {
  const stays = kept === null ? "it is dropped" : `it stays as ${kept}`;
  return `to be replaced: ${database} (events: ${eventsNow}; ${stays})\nby: ${archive} of ${endedAt} (${rows} rows)`;
}

if (import.meta.main) await runAsProcess(command);
