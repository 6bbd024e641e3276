import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { generatePassword } from "./password.ts";
import { SecretConflict, type SecretData, type SecretStore } from "./store.ts";

/** Where secrets are kept; the first part is the mount. */
export const secretPaths = {
  /** What applications read. */
  application: "secret/cqrs-spike/database",
  /** The same for programs on the host, where the server has another address for them. */
  applicationLocal: "secret/cqrs-spike/database-local",
  /** The embedded server's superuser; always in the file store, so that an emptied Vault locks nobody out. */
  superuser: "embedded/superuser",
} as const;

/** A server as an application reaches it. */
export interface ApplicationEndpoint {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  /** How programs on the host reach it, where that is another way. */
  readonly local?: { readonly host: string; readonly port: number } | undefined;
}

/** Keys of the secret that applications read. */
export const applicationSecretKeys = [
  "username",
  "password",
  "url",
  "driver-class-name",
  "host",
  "port",
  "database",
  "uri",
] as const;

/** The secret that applications read: the four keys of Spring's data source, then what other languages like. */
export type ApplicationSecret = Readonly<Record<(typeof applicationSecretKeys)[number], string>>;

const writeAttempts = 10;

/**
 * Brings the application's secrets up to date: the password stays what the store says, unless one is given; address
 * and names follow the server.
 *
 * @param password the one that configuration asks for; when left out the store's, or a generated one
 * @returns the secret, and whether anything was written
 * @throws {SecretConflict} when others kept writing meanwhile
 */
export async function ensureApplicationSecret(
  store: SecretStore,
  endpoint: ApplicationEndpoint,
  password?: string,
): Promise<{ readonly secret: ApplicationSecret; readonly isChanged: boolean }> {
  const generated = generatePassword();
  const main = await reconcile(store, secretPaths.application, (current) =>
    makeSecret(endpoint, password ?? (current?.["password"] || generated)),
  );
  const secret = main.data as ApplicationSecret;
  const local = await reconcile(store, secretPaths.applicationLocal, () =>
    makeSecret({ ...endpoint, ...endpoint.local }, secret.password),
  );
  return { secret, isChanged: main.isWritten || local.isWritten };
}

/**
 * Takes a value out of a secret.
 *
 * @throws {ScriptError} `SECRETS_UNUSABLE` (exit 2) when it is missing or empty
 */
export function requireKey(data: SecretData, key: string, path: string): string {
  const value = data[key];
  if (value !== undefined && value !== "") return value;
  throw new ScriptError({
    code: "SECRETS_UNUSABLE",
    exitCode: exitCodes.usage,
    message: `The secret ${path} has no ${key}`,
    why: "Somebody has written another version of it; an older one may still be right.",
    fix: "Write it again with all its keys, or remove the versions of that secret and run bun run bootstrap.",
  });
}

async function reconcile(
  store: SecretStore,
  path: string,
  wanted: (current: SecretData | undefined) => SecretData,
): Promise<{ readonly data: SecretData; readonly isWritten: boolean }> {
  for (let attempt = 1; ; attempt++) {
    const current = await store.read(path);
    const data = { ...current?.data, ...wanted(current?.data) };
    if (current !== undefined && isSame(current.data, data)) return { data, isWritten: false };
    try {
      await store.write(path, data, { cas: current?.version ?? 0 });
      return { data, isWritten: true };
    } catch (error) {
      if (!(error instanceof SecretConflict) || attempt === writeAttempts) throw error;
    }
  }
}

function makeSecret({ host, port, database, username }: ApplicationEndpoint, password: string): ApplicationSecret {
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}/${encodeURIComponent(database)}`;
  return {
    username,
    password,
    url: `jdbc:postgresql://${address}`,
    "driver-class-name": "org.postgresql.Driver",
    host,
    port: `${port}`,
    database,
    uri: `postgres://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${address}`,
  };
}

function isSame(one: SecretData, other: SecretData): boolean {
  const keys = Object.keys(other);
  return keys.length === Object.keys(one).length && keys.every((key) => one[key] === other[key]);
}
