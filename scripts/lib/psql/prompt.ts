import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { exitCodes } from "../cli/script-error.ts";
import { onlyQuit } from "./run-sql.ts";
import type { SqlSession } from "./sql-session.ts";
import { StatementReader } from "./statements.ts";

const welcome = "No psql is on the PATH; this prompt runs SQL. End a statement with ; and type \\q to quit.\n";

/** Reads statements from the terminal and runs them, until `\q` or the end of the input. */
export async function promptForSql(session: SqlSession): Promise<number> {
  process.stdout.write(welcome);
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    await new Prompt(session, lines).run();
    return exitCodes.ok;
  } finally {
    lines.close();
  }
}

class Prompt {
  readonly #session: SqlSession;
  readonly #lines: Interface;
  readonly #reader = new StatementReader();

  constructor(session: SqlSession, lines: Interface) {
    this.#session = session;
    this.#lines = lines;
  }

  async run(): Promise<void> {
    // Ctrl-C cancels the statement that is running, or discards what was typed.
    this.#lines.on("SIGINT", () => this.#interrupt());
    this.#show();
    for await (const line of this.#lines) {
      // A user whose statement never ends, because of a stray quote, must find the way out.
      if (line.trim() === "\\q") return;
      await this.#take(line);
      this.#show();
    }
    process.stdout.write("\n");
  }

  async #take(line: string): Promise<void> {
    if (this.#reader.isEmpty && line.startsWith("\\")) return void process.stderr.write(onlyQuit);
    for (const statement of await this.#reader.add(`${line}\n`)) await this.#session.run(statement);
  }

  #interrupt(): void {
    if (this.#session.cancel()) return;
    this.#reader.clear();
    process.stdout.write("^C\n");
    this.#lines.write(null, { ctrl: true, name: "u" });
    this.#show();
  }

  #show(): void {
    this.#lines.setPrompt(`${this.#session.database}${this.#reader.isEmpty ? "=" : "-"}> `);
    this.#lines.prompt();
  }
}
