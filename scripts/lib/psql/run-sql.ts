import process from "node:process";
import { createInterface } from "node:readline";
import { exitCodes } from "../cli/script-error.ts";
import { catchSignals } from "../cli/signals.ts";
import type { SqlSession } from "./sql-session.ts";
import { StatementReader } from "./statements.ts";

/** What psql itself would understand. */
export const onlyQuit = "Only \\q is understood here. Install psql for its other commands.\n";

/** Runs the SQL of --command: all of it in one transaction, like psql. */
export function runCommandSql(session: SqlSession, text: string): Promise<number> {
  return untilSignal(session, async () => exitCodeOf(await session.run(text)));
}

/** Runs the statements of stdin one after the other, until one fails. */
export function runPipedSql(session: SqlSession): Promise<number> {
  return untilSignal(session, async (signal) => {
    const reader = new StatementReader();
    for await (const line of createInterface({ input: process.stdin, signal })) {
      if (reader.isEmpty && line.startsWith("\\")) {
        if (line.trim() === "\\q") return exitCodes.ok;
        process.stderr.write(onlyQuit);
        return exitCodeOf(false);
      }
      for (const statement of await reader.add(`${line}\n`))
        if (!(await session.run(statement))) return exitCodeOf(false);
    }
    const last = reader.end();
    return exitCodeOf(last === undefined || (await session.run(last)));
  });
}

/** A signal cancels the statement that is running. */
async function untilSignal(session: SqlSession, work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  using signals = catchSignals();
  signals.signal.addEventListener("abort", () => session.cancel());
  const exitCode = await work(signals.signal);
  return signals.caught?.exitCode ?? exitCode;
}

function exitCodeOf(isDone: boolean): number {
  return isDone ? exitCodes.ok : exitCodes.bug;
}
