import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { errorCode } from "../postgres/failure.ts";
import { secretPaths } from "../secrets/application-secret.ts";
import { localVaultFiles } from "../stack/local-vault.ts";
import { lockStack } from "../stack/lock.ts";
import { openFileStore, secretsPlace } from "../stack/secret-store.ts";
import { readState } from "../stack/state.ts";
import { bootstrapAsBefore, type DoctorContext } from "./context.ts";
import type { Repair } from "./finding.ts";

/**
 * Whether the folder shows what the state said: an embedded server, and secrets in files, which contain the names of
 * database and login. Otherwise a new state might name another server, or another place of the secrets.
 */
export async function canReplaceState(config: Config): Promise<boolean> {
  const { mode = "embedded", stackDir } = config;
  const isHere = mode === "embedded" && existsSync(join(stackDir, "postgres/data/PG_VERSION"));
  const usesVault = secretsPlace(config, undefined) !== "file" || existsSync(localVaultFiles(stackDir).credentials);
  if (!isHere || usesVault) return false;
  const secret = await openFileStore(config)
    .read(secretPaths.application)
    .catch(() => undefined);
  return secret?.data["host"] === "127.0.0.1";
}

/** @returns the repair that sets the state aside and lets `bootstrap` write it again */
export function stateRepair({ config, run }: DoctorContext): Repair {
  return {
    description: "renames state.json to state.json.damaged, and runs bootstrap, which writes it again; data stays",
    changesStack: true,
    run: async () => {
      const isAside = await whileLocked({ config, run }, () => setAside(config.stackDir));
      try {
        await bootstrapAsBefore(config, run);
      } catch (error) {
        if (isAside) await whileLocked({ config, run }, () => putBack(config.stackDir));
        throw error;
      }
    },
  };
}

async function whileLocked<Result>(
  { config, run }: Pick<DoctorContext, "config" | "run">,
  work: () => Promise<Result>,
): Promise<Result> {
  using _lock = await lockStack(config.stackDir, {
    command: "doctor",
    timeoutMs: config.timeoutMs,
    onWait: (holder) => run.reporter.info(`waiting for ${holder}, which is using this stack`),
  });
  return await work();
}

/** @returns whether it did: another command may have written the state since the diagnosis */
async function setAside(stackDir: string): Promise<boolean> {
  const code = await readState(stackDir).then(() => undefined, errorCode);
  if (code !== "STATE") return false;
  await rename(stateFile(stackDir), damagedFile(stackDir));
  return true;
}

async function putBack(stackDir: string): Promise<void> {
  if (!existsSync(stateFile(stackDir))) await rename(damagedFile(stackDir), stateFile(stackDir));
}

function stateFile(stackDir: string): string {
  return join(stackDir, "state.json");
}

function damagedFile(stackDir: string): string {
  return `${stateFile(stackDir)}.damaged`;
}
