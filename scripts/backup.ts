// Writes archives of the database, and tells what archives there are and whether they are whole.
// Reads: configuration, the database, postgres/backups below the stack. Writes: postgres/backups, or where --to says.
// Exits: 0 · 2 configuration · 3 not running · 4 drift · 5 locked · 6 login refused · 9 unusable folder · 11 a damaged archive
import { defineScript, defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags, usageError } from "./lib/cli/flags.ts";
import { formatBytes, formatTable } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";

const from = { type: "string", valueHint: "folder", description: "Where archives are kept" } as const;
const keyFile = {
  type: "string",
  valueHint: "file",
  description: "A file with the key: 64 hexadecimal digits",
} as const;
const database = { mode: stackFlags.mode, database: stackFlags.database, timeout: stackFlags.timeout };

const create = defineScript({
  meta: { name: "create", description: "Write an archive of the database, from one snapshot" },
  args: {
    ...database,
    to: { ...from, description: "Where to write the archive" },
    output: { type: "string", valueHint: "file", description: "Write one file, a tar, instead; - for stdout" },
    incremental: { type: "boolean", description: "Only what is new since the last full archive there" },
    encrypt: { type: "boolean", description: "Encrypt it, by the key of the secret store or of --key-file" },
    "key-file": keyFile,
  },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { createBackup } = await import("./lib/backup/create.ts");
    checkOutput(args);
    using progress = reporter.transfer("backup");
    const options = {
      to: args.to,
      output: args.output,
      incremental: args.incremental === true,
      encryption: { encrypt: args.encrypt === true, keyFile: args["key-file"] },
      onProgress: progress.show,
    };
    return createBackup(await openStack(loadConfig(args)), options, { reporter, signal });
  },
  print({ archive, rows, tables, sizeBytes }, output) {
    const text = `${archive}  ${rows} rows of ${tables} tables, ${formatBytes(sizeBytes)}`;
    // Stdout has the archive itself.
    if (archive === "-") output.progress(text);
    else output.result(text);
  },
});

const list = defineScript({
  meta: { name: "list", description: "List the archives, the oldest first" },
  args: { from },
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { listBackups } = await import("./lib/backup/list.ts");
    return { archives: await listBackups(await openStack(loadConfig()), args.from) };
  },
  print({ archives }, output) {
    if (archives.length === 0) return output.result("there is no archive");
    output.result(
      formatTable(
        archives.map((archive) => {
          const size = formatBytes(archive.sizeBytes);
          return [archive.id, `${archive.kind}  ${archive.rows} rows, ${size}, up to event ${archive.lastPosition}`];
        }),
      ),
    );
  },
});

const verify = defineScript({
  meta: { name: "verify", description: "Check that an archive is whole and as it was written" },
  args: {
    archive: {
      type: "positional",
      required: false,
      default: "latest",
      description: "Its name or path, - for stdin, or latest",
    },
    from,
    ...database,
    deep: { type: "boolean", description: "Decompress everything too, and count rows" },
    restore: { type: "boolean", description: "Restore it too, into a database that is dropped again" },
    "key-file": keyFile,
  },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { verifyBackup } = await import("./lib/backup/verify.ts");
    const depth: "quick" | "deep" | "restored" =
      args.restore === true ? "restored" : args.deep === true ? "deep" : "quick";
    const options = { archive: args.archive, from: args.from, keyFile: args["key-file"], depth };
    return verifyBackup(await openStack(loadConfig(args)), options, { reporter, signal });
  },
  print({ archive, rows, depth }, output) {
    output.result(`${archive} is whole: ${rows} rows (${depth})`);
  },
});

const prune = defineScript({
  meta: {
    name: "prune",
    description: "Remove archives, but never the last one that was verified, nor one that others need",
  },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    from,
    keep: { type: "string", valueHint: "number", description: "Keep so many of the newest", default: "7" },
    "keep-days": { type: "string", valueHint: "number", description: "Keep all that are not older, too" },
    "dry-run": { type: "boolean", description: "Tell what would be removed" },
  },
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { pruneArchives } = await import("./lib/backup/prune.ts");
    const keepDays = args["keep-days"] === undefined ? undefined : parseCount("--keep-days", args["keep-days"]);
    const options = { from: args.from, keep: parseCount("--keep", args.keep), keepDays, now: new Date() };
    return pruneArchives(await openStack(loadConfig(args)), { ...options, dryRun: args["dry-run"] === true });
  },
  print({ removed, kept, holdingErasedData, isDryRun }, output) {
    for (const id of removed) output.result(`${isDryRun ? "would remove" : "removed"} ${id}`);
    for (const id of kept)
      output.result(`kept ${id}${holdingErasedData?.includes(id) ? ", which holds erased data" : ""}`);
  },
});

interface OutputFlags {
  readonly output?: string | undefined;
  readonly to?: string | undefined;
  readonly incremental?: boolean | undefined;
  readonly json?: boolean | undefined;
}

function checkOutput({ output, to, incremental, json }: OutputFlags): void {
  if (output === undefined) return;
  if (output !== "-" && !output.endsWith(".tar"))
    throw usageError("--output takes a name that ends in .tar, or -", undefined);
  if (to !== undefined) throw usageError("--to or --output, not both", undefined);
  if (incremental === true)
    throw usageError("--incremental needs a folder: a restore looks for its base there", undefined);
  if (output === "-" && json === true) throw usageError("--output - leaves no stdout for --json", undefined);
}

function parseCount(flag: string, text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw usageError(`${flag} takes a number from 1`, undefined);
}

export const command = defineScriptGroup({
  meta: { name: "backup", description: "Write an archive of the database, or tell of those there are" },
  subCommands: { create, list, verify, prune },
  default: "create",
});

if (import.meta.main) await runAsProcess(command);
