// Shows the state of the stack, or how to connect to it.
// Reads: configuration, the stack directory, the database. Writes: nothing.
// Exits: 0 running · 2 configuration, or secrets owned by another user · 3 not running · 6 login refused ·
// 8 another cluster · 9 files shared with another folder

import { stackFlags } from "./lib/cli/flags.ts";
import { formatBytes, formatSeconds, formatTable } from "./lib/cli/format.ts";
import type { Output } from "./lib/cli/output.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine, silentRunLine } from "./lib/cli/run-line.ts";
import { describeLogHolder } from "./lib/operations/log-holder.ts";
import type { ClientEnvironment, StackStatus } from "./lib/operations/status.ts";
import { defineConfiguredScript } from "./lib/stack/define-stack-script.ts";

export const command = defineConfiguredScript({
  meta: { name: "status", description: "Shows the state of the stack, or with --env how to connect to it." },
  args: {
    mode: stackFlags.mode,
    database: stackFlags.database,
    env: { type: "boolean", description: "Print export lines for the shell, with the password" },
  },
  examples: [
    [runLine("status"), "Show the server, its URL and size, and pending files"],
    [`eval "$(${silentRunLine("status")} --env)"`, "Export DATABASE_URL and the PG* variables"],
  ],
  async run({ args, config, signal }): Promise<StackStatus | { readonly env: ClientEnvironment }> {
    const { readClientEnvironment, readStatus } = await import("./lib/operations/status.ts");
    return args.env ? { env: await readClientEnvironment(config) } : readStatus(config, signal);
  },
  print: (result, output) => ("env" in result ? printEnvironment(result.env, output) : printStatus(result, output)),
});

function printEnvironment(env: ClientEnvironment, output: Output): void {
  for (const [name, value] of Object.entries(env)) output.result(`export ${name}='${value.replaceAll("'", "'\\''")}'`);
}

function printStatus(status: StackStatus, output: Output): void {
  const { mode, version, url, pid, port, dataDirectory, sizeBytes, uptimeSeconds, pendingMigrations } = status;
  const rows: readonly (readonly [string, string | number | null])[] = [
    ["project", status.projectDir],
    ["mode", mode],
    ["version", version === null ? null : `PostgreSQL ${version}`],
    ["url", url],
    ["pid", pid],
    ["port", port],
    ["data", dataDirectory],
    ["size", sizeBytes === null ? null : formatBytes(sizeBytes)],
    ["uptime", uptimeSeconds === null ? null : formatSeconds(uptimeSeconds)],
    ["secrets", `${status.secrets.place} ${status.secrets.location}${status.secrets.isReady ? "" : " (not ready)"}`],
    ["pending", status.schemaProblem ?? `${pendingMigrations} schema files`],
    ...(status.logProblems ?? []).map((problem) => ["log", problem] as const),
    ...status.stackProblems.map((problem) => ["note", problem] as const),
    ["log held by", status.logHolder === null ? null : describeLogHolder(status.logHolder)],
  ];
  output.result(formatTable(rows.filter(([, value]) => value !== null)));
}

if (import.meta.main) await runAsProcess(command);
