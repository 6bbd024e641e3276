// Opens a SQL prompt: psql if it is on the PATH, otherwise a small one of our own; or runs the SQL of --command or stdin.
// Reads: configuration, the stack directory, the secret store. Writes: what the SQL changes.
// Exits: 0, or psql's own · 1 a statement failed · 2 usage, configuration · 3 not running, or the session was lost ·
// 6 login refused · 8 another cluster · 9 arguments for psql without psql, files shared with another folder ·
// 130, 143 stopped

import { usageError } from "./lib/cli/errors.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { defineStackScript } from "./lib/stack/define-stack-script.ts";

export const command = defineStackScript({
  meta: { name: "psql", description: "Opens a SQL prompt: psql, or a small one of our own if there is no psql." },
  args: {
    arguments: { type: "positional", valueHint: "-- argument…", description: "Arguments for psql" },
    command: { type: "string", alias: "c", valueHint: "sql", description: "Run this SQL, then exit" },
    admin: { type: "boolean", description: "Log in as the administrator, not as the application" },
    mode: stackFlags.mode,
    database: stackFlags.database,
  },
  examples: [
    [runLine("psql"), "Open a prompt with the application's login"],
    [runLine("psql -c 'select event_store.safe_position()'"), "Run one statement"],
    [runLine("psql --quiet -- --csv"), "Pass arguments to psql"],
  ],
  check({ json }) {
    if (json) throw usageError("psql has no JSON output", "Select json_agg(…), or pass -- --csv to psql.");
  },
  async run({ args, stack, operands, commandWords, signal }) {
    const { preparePsql } = await import("./lib/psql/psql.ts");
    const [word] = operands;
    if (word !== undefined) throw usageError(`Unexpected argument ${JSON.stringify(word)}`, "Pass SQL with --command.");
    return preparePsql(stack, { ...args, words: commandWords }, signal);
  },
  print() {
    // The prompt owns stdout.
  },
  follow: (start) => start(),
});

if (import.meta.main) await runAsProcess(command);
