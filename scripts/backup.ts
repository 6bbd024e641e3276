// Writes archives of the database, and tells what archives there are and whether they are whole.
// Reads: configuration, the database, postgres/backups below the stack. Writes: postgres/backups, or where --to says.
// Exits: 0 · 2 configuration · 3 not running · 4 drift · 5 locked · 6 login refused · 9 unusable folder · 11 a damaged archive
import { defineScript, defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatBytes, formatTable } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";

const from = { type: "string", valueHint: "folder", description: "Where archives are kept" } as const;
const database = { mode: stackFlags.mode, database: stackFlags.database, timeout: stackFlags.timeout };

const create = defineScript({
  meta: { name: "create", description: "Write an archive of the database, from one snapshot" },
  args: { ...database, to: { ...from, description: "Where to write the archive" } },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { createBackup } = await import("./lib/stack/backup.ts");
    using progress = reporter.transfer("backup");
    const to = typeof args.to === "string" ? { to: args.to } : {};
    const options = { ...to, onProgress: progress.show };
    return createBackup(await openStack(loadConfig(args)), options, { reporter, signal });
  },
  print({ archive, rows, tables, sizeBytes }, output) {
    output.result(`${archive}  ${rows} rows of ${tables} tables, ${formatBytes(sizeBytes)}`);
  },
});

const list = defineScript({
  meta: { name: "list", description: "List the archives, the oldest first" },
  args: { from },
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { listBackups } = await import("./lib/stack/archives.ts");
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
    archive: { type: "positional", required: false, default: "latest", description: "Its name or path, or latest" },
    from,
    deep: { type: "boolean", description: "Decompress everything too, and count rows" },
  },
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { verifyBackup } = await import("./lib/stack/archives.ts");
    return verifyBackup(await openStack(loadConfig()), args);
  },
  print({ archive, rows, depth }, output) {
    output.result(`${archive} is whole: ${rows} rows (${depth})`);
  },
});

export const command = defineScriptGroup({
  meta: { name: "backup", description: "Write an archive of the database, or tell of those there are" },
  subCommands: { create, list, verify },
  default: "create",
});

if (import.meta.main) await runAsProcess(command);
