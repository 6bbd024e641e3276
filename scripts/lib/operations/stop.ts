import { existsSync } from "node:fs";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { stopServer } from "../postgres/server/life-cycle.ts";
import { stopContainers } from "../stack/compose/life-cycle.ts";
import { localVaultFiles, stopLocalVault } from "../stack/local-vault.ts";
import { lockForRun, type RunContext, type Stack, waitLimit } from "../stack/stack.ts";
import { openTestCluster, stopTestCluster } from "../testing/test-server.ts";

/** What was stopped. */
export interface StopResult {
  /** The server's pid; null if it was not running. */
  readonly pid: number | null;
  /** The local Vault's pid; null if it was not running. */
  readonly vaultPid: number | null;
  /** Names of the stopped containers; empty in other modes. */
  readonly containers: readonly string[];
}

/**
 * Stops the containers, or the embedded server and the local Vault. Sessions end and all data is flushed to disk.
 *
 * @throws {ScriptError} `EXTERNAL` (exit 8)
 */
export async function stopStack(stack: Stack, run: RunContext): Promise<StopResult> {
  if (stack.mode === "compose") return stopCompose(stack, run);
  const hasVault = existsSync(localVaultFiles(stack.stackDir).config);
  if (!hasVault) refuseExternal(stack, "stopped");
  if (!hasVault && !existsSync(stack.dataDir)) return { pid: null, vaultPid: null, containers: [] };
  using _lock = await lockForRun(stack, run, "stop");
  const wait = waitLimit(stack, run);
  const pid = stack.mode === "embedded" ? await stopServer(stack.dataDir, wait) : undefined;
  const vaultPid = await stopLocalVault(stack.stackDir, wait);
  return { pid: pid ?? null, vaultPid: vaultPid ?? null, containers: [] };
}

/** Stops the server that tests use. */
export async function stopTestStack({ stackDir, config }: Stack, run: RunContext): Promise<StopResult> {
  const pid = await stopTestCluster(await openTestCluster(stackDir, config.timeoutMs), run);
  return { pid: pid ?? null, vaultPid: null, containers: [] };
}

async function stopCompose(stack: Stack, run: RunContext): Promise<StopResult> {
  using _lock = await lockForRun(stack, run, "stop");
  return { pid: null, vaultPid: null, containers: await stopContainers(stack, run) };
}

/** @throws {ScriptError} `EXTERNAL` (exit 8) if the stack uses an external server */
export function refuseExternal(stack: Stack, verb: string): void {
  if (stack.mode !== "external") return;
  throw new ScriptError({
    code: "EXTERNAL",
    exitCode: exitCodes.refused,
    message: `An external server cannot be ${verb} from here`,
    why: "This stack only uses that server; it does not manage it.",
    fix: "Use that server's own tools.",
  });
}
