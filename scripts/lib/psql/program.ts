import { clientEnvironment } from "../operations/status.ts";
import type { SessionTarget } from "../postgres/target.ts";
import { type Environment, environment, terminal } from "../runtime.ts";
import { runCommand } from "../wait/command.ts";

/** What to run, and as whom. */
export interface PsqlChoice {
  readonly command?: string | undefined;
  readonly admin: boolean;
  /** Arguments for psql. */
  readonly words: readonly string[];
}

/** Variables of libpq that do not choose the server or the login. All others would, or could. */
const harmless = ["PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGGEQO", "PGTZ"];
/** psql's exit code if a statement of a script has failed. */
const scriptFailed = 3;

/**
 * Runs psql in place of this process.
 *
 * @returns its exit code; 1 if a statement has failed, whether it came from --command or from stdin
 */
export async function runProgram(program: string, target: SessionTarget, choice: PsqlChoice): Promise<number> {
  const { command, words } = choice;
  const stopsOnError = words.length === 0 && (command !== undefined || !terminal().isStdinTerminal);
  const all = [
    // The password is known; a prompt for it would mean that it is wrong.
    "--no-password",
    ...(stopsOnError ? ["--set=ON_ERROR_STOP=1"] : []),
    ...(command === undefined ? [] : [`--command=${command}`]),
    ...words,
  ];
  const exitCode = await runCommand([program, ...all], programEnvironment(target));
  return stopsOnError && exitCode === scriptFailed ? 1 : exitCode;
}

/** The password is in the environment, which only this user can read, and not in a file that a killed psql leaves. */
function programEnvironment(target: SessionTarget): Environment {
  const { DATABASE_URL: _, ...variables } = clientEnvironment(target);
  const inherited = Object.entries(environment()).filter(([name]) => !name.startsWith("PG") || harmless.includes(name));
  const { searchPath } = target;
  return {
    ...Object.fromEntries(inherited),
    ...variables,
    ...(searchPath === undefined ? {} : { PGOPTIONS: `-c search_path=${searchPath}` }),
  };
}
