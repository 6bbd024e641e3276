// Tells how the stack is.
// Reads: configuration, the stack directory, the database. Writes: nothing.
// Exits: 0 running · 2 configuration, or secrets of another owner · 3 not running · 6 login refused
import { defineScript } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatBytes, formatSeconds, formatTable } from "./lib/cli/format.ts";
import type { Output } from "./lib/cli/output.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import type { ClientEnvironment, StackStatus } from "./lib/operations/status.ts";

export const command = defineScript({
  meta: { name: "status", description: "Tell how the stack is; with --env, how to connect to it" },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    env: { type: "boolean", description: "Print export lines for the shell, with the password" },
  },
  async run({ args, signal }): Promise<StackStatus | { readonly env: ClientEnvironment }> {
    const { loadConfig } = await import("./lib/config.ts");
    const { readClientEnvironment, readStatus } = await import("./lib/operations/status.ts");
    const config = loadConfig(args);
    return args.env === true ? { env: await readClientEnvironment(config) } : readStatus(config, signal);
  },
  print: (result, output) => ("env" in result ? printEnvironment(result.env, output) : printStatus(result, output)),
});

function printEnvironment(env: ClientEnvironment, output: Output): void {
  for (const [name, value] of Object.entries(env)) output.result(`export ${name}='${value.replaceAll("'", "'\\''")}'`);
}

function printStatus(status: StackStatus, output: Output): void {
  const { mode, version, url, pid, port, dataDirectory, sizeBytes, uptimeSeconds, pendingMigrations } = status;
  const rows: readonly (readonly [string, string | number | null])[] = [
    ["mode", mode],
    ["version", version === null ? null : `PostgreSQL ${version}`],
    ["url", url],
    ["pid", pid],
    ["port", port],
    ["data", dataDirectory],
    ["size", sizeBytes === null ? null : formatBytes(sizeBytes)],
    ["uptime", uptimeSeconds === null ? null : formatSeconds(uptimeSeconds)],
    ["secrets", `${status.secrets.place} ${status.secrets.location}${status.secrets.isReady ? "" : " (not ready)"}`],
    ["pending", status.schemaProblem ?? `${pendingMigrations} of the schema's files`],
  ];
  output.result(formatTable(rows.filter(([, value]) => value !== null)));
}

if (import.meta.main) await runAsProcess(command);
