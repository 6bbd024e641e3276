import { exitCodes, ScriptError } from "../cli/script-error.ts";

/** The key-value pairs of one secret. */
export type SecretData = Readonly<Record<string, string>>;

/** One version of a secret. */
export interface SecretVersion {
  readonly data: SecretData;
  /** 1 for the first version; each write increments it by one. */
  readonly version: number;
}

/** The state of a store. Contains no secrets. */
export interface SecretStoreStatus {
  readonly kind: "file" | "vault";
  readonly location: string;
  readonly isReady: boolean;
}

/**
 * Keeps versioned secrets under paths such as `secret/cqrs-spike/database`: the mount, then the path within it. Each
 * part consists of `[A-Za-z0-9_.-]+`.
 */
export interface SecretStore extends AsyncDisposable {
  /** @returns the newest version, or undefined if there is none */
  read(path: string): Promise<SecretVersion | undefined>;

  /**
   * Writes the next version.
   *
   * @param options.cas the version that must be the newest one; 0 if the secret must not exist
   * @returns the new version
   * @throws {SecretConflict} if another version is the newest one; nothing was written
   */
  write(path: string, data: SecretData, options: { readonly cas: number }): Promise<number>;

  /**
   * Reads a secret, or creates it if there is none. Of several concurrent callers, one creates it and all get the same.
   *
   * @param make called only if there is no version yet
   */
  ensure(path: string, make: () => SecretData): Promise<SecretVersion & { readonly isNew: boolean }>;

  /** Reads where the secrets are and whether the store is ready. */
  status(): Promise<SecretStoreStatus>;

  close(): Promise<void>;
}

/** A write expected a version that is not the newest. */
export class SecretConflict extends ScriptError {
  readonly path: string;

  constructor(path: string, expected: number, actual: number) {
    super({
      code: "SECRET_CONFLICT",
      exitCode: exitCodes.locked,
      message: `The secret ${path} was changed concurrently`,
      why: `The write expected version ${expected}; the newest is ${actual}.`,
      fix: "Run this again.",
    });
    this.path = path;
  }
}

/** @returns the error of a stored secret that cannot be used (exit 2) */
export function unusableSecret(path: string, why: string, fix: string): ScriptError {
  return new ScriptError({
    code: "SECRETS_UNUSABLE",
    exitCode: exitCodes.usage,
    message: `The secret store cannot use ${path}`,
    why,
    fix,
  });
}

/** Whether two secrets have the same keys and values. */
export function isSameSecret(one: SecretData, other: SecretData): boolean {
  const keys = Object.keys(other);
  return keys.length === Object.keys(one).length && keys.every((key) => one[key] === other[key]);
}

/** Implements `ensure` for every store: reads, or writes the first version, or reads what a concurrent caller wrote. */
export async function ensureSecret(
  store: Pick<SecretStore, "read" | "write">,
  path: string,
  make: () => SecretData,
): Promise<SecretVersion & { readonly isNew: boolean }> {
  const existing = await store.read(path);
  if (existing !== undefined) return { ...existing, isNew: false };
  const data = make();
  try {
    return { data, version: await store.write(path, data, { cas: 0 }), isNew: true };
  } catch (error) {
    const winner = error instanceof SecretConflict ? await store.read(path) : undefined;
    if (winner === undefined) throw error;
    return { ...winner, isNew: false };
  }
}

/**
 * Splits a secret's path into its parts.
 *
 * @throws {ScriptError} `SECRET_PATH` (exit 2) for a part that could escape the store
 */
export function splitSecretPath(path: string): string[] {
  const parts = path.split("/");
  if (parts.length >= 2 && parts.every(isPlainPart)) return parts;
  throw new ScriptError({
    code: "SECRET_PATH",
    exitCode: exitCodes.usage,
    message: `${JSON.stringify(path)} is not a valid secret path`,
    why: "A path is a mount and at least one more part. Parts consist of A-Z a-z 0-9 _ . - and are not . or ..",
    fix: "Use a path such as secret/cqrs-spike/database.",
  });
}

function isPlainPart(part: string): boolean {
  return /^[A-Za-z0-9_.-]+$/.test(part) && part !== "." && part !== "..";
}
