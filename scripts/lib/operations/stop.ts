import { existsSync } from "node:fs";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { stopServer } from "../postgres/server/life-cycle.ts";
import { stopContainers } from "../stack/compose/life-cycle.ts";
import { localVaultFiles, stopLocalVault } from "../stack/local-vault.ts";
import { lockForRun, type RunContext, type Stack } from "../stack/stack.ts";

/** What a stop has done. */
export interface StopResult {
  /** The process that was ended; null when none ran. */
  readonly pid: number | null;
  /** The local Vault's; null when none ran. */
  readonly vaultPid: number | null;
  /** Names of the containers that were stopped; empty in other modes. */
  readonly containers: readonly string[];
}

/**
 * Stops the embedded server, and the local Vault: sessions end, everything is written to disk.
 *
 * @throws {ScriptError} `EXTERNAL` (exit 8) for a server that is not ours
 */
export async function stopStack(stack: Stack, run: RunContext): Promise<StopResult> {
  if (stack.mode === "compose") return stopCompose(stack, run);
  const hasVault = existsSync(localVaultFiles(stack.stackDir).config);
  if (!hasVault) refuseExternal(stack, "stopped");
  if (!hasVault && !existsSync(stack.dataDir)) return { pid: null, vaultPid: null, containers: [] };
  using _lock = await lockForRun(stack, "stop", run);
  const wait = { timeoutMs: stack.config.timeoutMs, signal: run.signal };
  const pid = stack.mode === "embedded" ? await stopServer(stack.dataDir, wait) : undefined;
  const vaultPid = await stopLocalVault(stack.stackDir, wait);
  return { pid: pid ?? null, vaultPid: vaultPid ?? null, containers: [] };
}

async function stopCompose(stack: Stack, run: RunContext): Promise<StopResult> {
  using _lock = await lockForRun(stack, "stop", run);
  return { pid: null, vaultPid: null, containers: await stopContainers(stack, run) };
}

/** @throws {ScriptError} `EXTERNAL` (exit 8) for a server that is not ours to stop or destroy */
export function refuseExternal(stack: Stack, verb: string): void {
  if (stack.mode !== "external") return;
  throw new ScriptError({
    code: "EXTERNAL",
    exitCode: exitCodes.refused,
    message: `An external server is not ${verb} from here`,
    why: "This stack uses a server that somebody else runs.",
    fix: "Use that server's own tools.",
  });
}
