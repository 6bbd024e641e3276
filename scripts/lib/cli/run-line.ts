import { assetsDir, isClone, isInImage } from "../paths.ts";
import { environment, isBun, isDeno } from "../runtime.ts";

/** Runs a command in the containers of a clone, without a terminal. */
const composeRun = "docker compose run --rm -T init";

/**
 * The command line that runs a script in this place, for messages, hints and help.
 *
 * @param words the script and its arguments, quoted for a shell
 * @returns `bun run backup list` in a clone; in the image made from it, a line that runs the command in its containers;
 * `npx cqrs-postgres backup list` or the like in another project
 */
export function runLine(words: string): string {
  if (isClone) return `${isInInit() ? composeRun : "bun run"} ${words}`.trimEnd();
  return `${packageRunner()} ${words}`.trimEnd();
}

/** Like `runLine()`; what the script prints is not preceded by the line itself. */
export function silentRunLine(words: string): string {
  return isClone && !isInInit() ? `bun run --silent ${words}` : runLine(words);
}

/** The line for a script of package.json, or for a task of deno.json: package managers put programs on the PATH there. */
export function packageScript(words: string): string {
  const runner = isClone ? "cqrs-postgres" : packageRunner().replace(/^(npx|pnpm exec|yarn) /, "");
  return `${runner} ${words}`;
}

/** What a package manager runs the package's program with. */
function packageRunner(): string {
  // People run the commands on the host.
  if (isInInit()) return "npx cqrs-postgres";
  if (isDeno()) return "deno run -A npm:cqrs-postgres";
  const manager = /^\w+/.exec(environment()["npm_config_user_agent"] ?? "")?.[0];
  // Without --bun, the program would run on Node.js.
  if (isBun() || manager === "bun") return "bunx --bun cqrs-postgres";
  if (manager === "pnpm") return "pnpm exec cqrs-postgres";
  return manager === "yarn" ? "yarn cqrs-postgres" : "npx cqrs-postgres";
}

/** Whether this runs in the init container. Elsewhere, reading the mark may need a permission on Deno. */
function isInInit(): boolean {
  return environment()["CQRS_PROJECT_DIR"] === assetsDir && isInImage();
}
