// Writes, lists, verifies and prunes archives of the database.
// Reads: configuration, sql/, the database, the archives. Writes: postgres/backups below the stack directory, or where
// --to or --output says. Exits: 0 · 2 configuration · 3 not running · 5 locked · 6 login refused ·
// 8 no matching full archive, or one of another format · 9 unusable folder · 11 damaged archive
import { describeSource, formatArchives, formatPruned } from "./lib/backup/format-archives.ts";
import { checkOutputFlags } from "./lib/backup/output-flags.ts";
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatBytes } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine, silentRunLine } from "./lib/cli/run-line.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

const { mode, database, timeout } = stackFlags;
const from = { type: "string", valueHint: "folder", description: "Folder that contains the archives" } as const;
const keyFile = { type: "string", valueHint: "file", description: "A key of 64 hexadecimal digits" } as const;

const examples = [
  [runLine("backup"), "Write a full archive to postgres/backups"],
  [runLine("backup --incremental"), "Write only what is new since the last full archive"],
  [`${silentRunLine("backup")} --output - | ssh host 'cat >nightly.tar'`, "Stream an archive to another host"],
] as const;

const create = defineStackScript({
  meta: { name: "create", description: "Writes an archive of the database, from one snapshot." },
  args: {
    mode,
    database,
    timeout,
    to: { ...from, description: "Write the archive into this folder" },
    output: { type: "string", valueHint: "file", description: "Write one tar file instead; - for stdout" },
    incremental: { type: "boolean", description: "Write only what is new since the last full archive" },
    only: { type: "choice", options: ["event_store"], description: "Leave out the rows of all other schemas" },
    encrypt: { type: "boolean", description: "Encrypt rows with the key of the secret store or of --key-file" },
    "key-file": keyFile,
  },
  examples,
  check: checkOutputFlags,
  async run({ args, stack, reporter, signal }) {
    const { createBackup } = await import("./lib/backup/create.ts");
    const { to, output, incremental, only, encrypt, "key-file": keyFile } = args;
    using progress = reporter.transfer("backup");
    const contents = { incremental, onlyEventStore: only !== undefined, encryption: { encrypt, keyFile } };
    return await createBackup(stack, { to, output, ...contents, onProgress: progress.show }, { reporter, signal });
  },
  print({ archive, rows, tables, sizeBytes }, output) {
    const text = `${rows} rows of ${tables} tables, ${formatBytes(sizeBytes)}`;
    // Stdout carries the archive itself.
    if (archive === "-") output.progress(`stdout  ${text}`);
    else output.result(`${archive}  ${text}`);
  },
});

const list = defineStackScript({
  meta: { name: "list", description: "Lists the archives, oldest first." },
  args: { from },
  examples: [[runLine("backup list"), "List the archives of postgres/backups"]],
  async run({ args, stack }) {
    const { listBackups } = await import("./lib/backup/list.ts");
    return listBackups(stack, args.from);
  },
  print: (list, output) => output.result(formatArchives(list)),
});

const verify = defineStackScript({
  meta: { name: "verify", description: "Checks that an archive is complete and unchanged." },
  args: {
    archive: { type: "positional", default: "latest", description: "Name or path, latest, or - for a tar from stdin" },
    from,
    mode,
    database,
    timeout,
    deep: { type: "boolean", description: "Also decompress everything and count rows" },
    restore: { type: "boolean", description: "Also restore it into a scratch database" },
    "key-file": keyFile,
  },
  examples: [
    [runLine("backup verify"), "Check sizes and digests of the latest archive"],
    [runLine("backup verify latest --restore"), "Prove that it can be restored"],
  ],
  async run({ args, stack, ...run }) {
    const { verifyBackup } = await import("./lib/backup/verify.ts");
    const depth: "quick" | "deep" | "restored" = args.restore ? "restored" : args.deep ? "deep" : "quick";
    const options = { archive: args.archive, from: args.from, keyFile: args["key-file"], depth };
    return verifyBackup(stack, options, run);
  },
  print({ archive, rows, depth }, output) {
    output.result(`${describeSource(archive)} is intact: ${rows} rows (${depth})`);
  },
});

const prune = defineStackScript({
  meta: { name: "prune", description: "Deletes old archives, except the last verified one and any base still needed." },
  args: {
    mode,
    database,
    from,
    keep: { type: "number", min: 1, max: 999_999, default: "7", description: "Keep this many of the newest archives" },
    "keep-days": { type: "number", min: 1, max: 999_999, description: "Also keep archives of the last days" },
    "dry-run": { type: "boolean", description: "Show what would be deleted" },
  },
  examples: [[runLine("backup prune --keep 3 --keep-days 30 --dry-run"), "Show what would be deleted"]],
  async run({ args, stack }) {
    const { pruneArchives } = await import("./lib/backup/prune.ts");
    const { from, keep, "keep-days": keepDays, "dry-run": dryRun } = args;
    return pruneArchives(stack, { from, keep, keepDays, dryRun, now: new Date() });
  },
  print(pruned, output) {
    for (const line of formatPruned(pruned)) output.result(line);
  },
});

export const command = defineScriptGroup({
  meta: { name: "backup", description: "Writes an archive of the database, or manages archives." },
  examples,
  subCommands: { create, list, verify, prune },
  default: "create",
});

if (import.meta.main) await runAsProcess(command);
