import { usageError } from "../cli/errors.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isInImage } from "../paths.ts";
import { readContainerLogs } from "../stack/compose/logs.ts";
import { localVaultFiles } from "../stack/local-vault.ts";
import type { Stack } from "../stack/stack.ts";
import { findServerLogs, type LogChoice, listLogFiles, readLogFiles } from "./log-files.ts";
import { MaskedText } from "./masked-text.ts";

/** Where the lines go, and what ends following. */
export interface LogReader {
  readonly signal: AbortSignal;
  /** @returns false once the reader has closed the pipe */
  write(text: string): Promise<boolean>;
}

const owners: Readonly<Record<string, string>> = { postgres: "the server", vault: "a local Vault" };
const containers = ["postgres", "vault", "init", "keys"];

/**
 * Shows the last lines of a log, then follows it if that was asked for. Keeps no more than a part of it in memory.
 *
 * @throws {ScriptError} `USAGE`, `LOG_ELSEWHERE` (exit 2); `NO_LOG` (exit 3)
 */
export async function showLogs(stack: Stack, choice: LogChoice, { signal, write }: LogReader): Promise<void> {
  const services = stack.mode === "compose" ? containers : ["postgres", "vault"];
  const { service } = choice;
  if (service !== undefined && !services.includes(service)) throw unknownService(service, services);
  const text = new MaskedText(write);
  if (stack.mode === "compose") {
    if (!(await readContainerLogs(stack, choice, { signal, text }))) throw noLog("the containers", "There are none.");
    return text.end();
  }
  const find = service === "vault" ? findVaultLogs(stack) : findPostgresLogs(stack);
  if ((await find()).length === 0) throw noLog(owners[service ?? "postgres"], "It was never started here.");
  await readLogFiles(find, choice, { signal, text });
  await text.end();
}

function findPostgresLogs({ mode, config, dataDir }: Stack) {
  if (mode !== "external") return () => findServerLogs(dataDir);
  throw elsewhere("an external server", config.externalServer?.host, "postgres");
}

function findVaultLogs({ secretsPlace, config, stackDir }: Stack) {
  if (secretsPlace !== "vault") return () => listLogFiles([localVaultFiles(stackDir).log]);
  throw elsewhere("an external Vault", config.vault && new URL(config.vault.address).hostname, "vault");
}

function unknownService(service: string, services: readonly string[]): ScriptError {
  return usageError(`There is no service ${JSON.stringify(service)}`, `Pass one of: ${services.join(", ")}.`);
}

function elsewhere(owner: string, host: string | undefined, service: string): ScriptError {
  const query = service === "postgres" ? " PostgreSQL names its file: select pg_current_logfile()." : "";
  return new ScriptError({
    code: "LOG_ELSEWHERE",
    exitCode: exitCodes.usage,
    message: `The log of ${owner} is not on this machine`,
    why: `It is kept where it runs${host === undefined ? "" : `: ${host}`}.`,
    fix: isInImage()
      ? `On the host of the containers, run docker compose logs ${service}.`
      : `Look there, in its log files, its journal or its container's log.${query}`,
  });
}

function noLog(owner: string | undefined, why: string): ScriptError {
  return new ScriptError({
    code: "NO_LOG",
    exitCode: exitCodes.notReady,
    message: `There is no log of ${owner}`,
    why,
    fix: `Run ${runLine("bootstrap")}${owner === owners["vault"] ? " --secrets vault" : ""}.`,
  });
}
