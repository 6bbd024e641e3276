import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import {
  ensureSecret,
  isSameSecret,
  SecretConflict,
  type SecretData,
  type SecretStore,
  type SecretStoreStatus,
  type SecretVersion,
  splitSecretPath,
  unusableSecret,
} from "../store.ts";
import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";

/**
 * Keeps secrets in Vault's KV engine, version 2. The first part of a path is the mount; versions and compare-and-set
 * are the engine's own.
 */
export class VaultSecretStore implements SecretStore {
  readonly client: VaultClient;

  constructor(client: VaultClient) {
    this.client = client;
  }

  async read(path: string): Promise<SecretVersion | undefined> {
    const { secret } = await this.#readLatest(path);
    return secret;
  }

  async write(path: string, data: SecretData, { cas }: { readonly cas: number }): Promise<number> {
    let wasRepeated = false;
    try {
      return await this.#put(path, data, cas, () => {
        wasRepeated = true;
      });
    } catch (error) {
      if (!isMismatch(error)) throw error;
    }
    const { secret, deletedVersion } = await this.#readLatest(path);
    // The first attempt may have succeeded, and only the response was lost.
    if (wasRepeated && secret?.version === cas + 1 && isSameSecret(secret.data, data)) return secret.version;
    // To us, a deleted secret does not exist, but Vault continues from its last version.
    if (cas === 0 && deletedVersion > 0) return this.#rewrite(path, data, deletedVersion);
    throw new SecretConflict(path, cas, secret?.version ?? 0);
  }

  ensure(path: string, make: () => SecretData): Promise<SecretVersion & { readonly isNew: boolean }> {
    return ensureSecret(this, path, make);
  }

  /** Writes custom metadata, for people who come across the secret in Vault. */
  async writeMetadata(path: string, metadata: Readonly<Record<string, string>>): Promise<void> {
    await this.client.request({ method: "POST", path: apiPath(path, "metadata"), body: { custom_metadata: metadata } });
  }

  async status(): Promise<SecretStoreStatus> {
    const { initialized, sealed } = await this.client.anonymously({ method: "GET", path: "sys/seal-status" });
    return { kind: "vault", location: this.client.address, isReady: initialized === true && sealed === false };
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #put(path: string, data: SecretData, cas: number, onRepeat: () => void): Promise<number> {
    const request = { method: "POST", path: apiPath(path, "data"), body: { options: { cas }, data } } as const;
    const { data: written } = await this.client.request(request, { expected: [400], onRepeat });
    return written.version;
  }

  async #rewrite(path: string, data: SecretData, cas: number): Promise<number> {
    try {
      return await this.#put(path, data, cas, () => {});
    } catch (error) {
      throw isMismatch(error) ? new SecretConflict(path, 0, cas + 1) : error;
    }
  }

  async #readLatest(
    path: string,
  ): Promise<{ readonly secret: SecretVersion | undefined; readonly deletedVersion: number }> {
    try {
      const { data } = await this.client.request({ method: "GET", path: apiPath(path, "data") }, { expected: [404] });
      return { secret: { data: checkData(data.data, path), version: data.metadata.version }, deletedVersion: 0 };
    } catch (error) {
      if (!(error instanceof VaultFailure) || error.status !== 404) throw error;
      return { secret: undefined, deletedVersion: error.deletedVersion };
    }
  }
}

function apiPath(path: string, kind: "data" | "metadata"): string {
  const [mount, ...rest] = splitSecretPath(path);
  return [mount, kind, ...rest].join("/");
}

/** The API has no status or code for a failed compare-and-set, only a text. */
function isMismatch(error: unknown): boolean {
  if (!(error instanceof VaultFailure)) return false;
  if (/check-and-set/.test(error.text)) return true;
  throw new ScriptError({
    code: "VAULT_ERROR",
    exitCode: exitCodes.notReady,
    message: `Vault rejected a secret: ${error.text}`,
    fix: "Check Vault's log, then run this again.",
  });
}

function checkData(data: unknown, path: string): SecretData {
  const isObject = typeof data === "object" && data !== null;
  if (isObject && Object.values(data).every((value) => typeof value === "string")) return data as SecretData;
  const fix = "Write it again with strings only, or restore an older version: vault kv rollback.";
  throw unusableSecret(path, "Not all of its values are strings.", fix);
}
