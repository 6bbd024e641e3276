import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { generatePassword } from "./password.ts";
import { SecretConflict, type SecretData, type SecretStore, type SecretVersion } from "./store.ts";

/** Where secrets are kept; the first part is the mount. */
export const secretPaths = {
  /** What applications read. */
  application: "secret/cqrs-spike/database",
  /** The same for programs on the host, where the server has another address for them. */
  applicationLocal: "secret/cqrs-spike/database-local",
  /** The key that archives are encrypted by; applications may not read it. */
  archiveKey: "secret/cqrs-spike/archive-key",
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

/** Ends the name of the second login. */
const twinSuffix = "_b";

/** A login and its password. */
export type Login = Pick<ApplicationSecret, "username" | "password">;

/** The two logins that an application takes turns with: the one that its secret names, and the other one. */
export interface LoginPair {
  readonly login: string;
  readonly twin: string;
}

/**
 * @param user the first of the two, which the configuration names
 * @param current the login that the secret names, if there is one
 */
export function loginPair(user: string, current: string | undefined): LoginPair {
  const second = `${user}${twinSuffix}`;
  return current === second ? { login: second, twin: user } : { login: user, twin: second };
}

/**
 * Brings the application's secrets up to date: the password stays what the store says, unless one is given, and so does
 * the login, if it is one of the two; address and names follow the server.
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
  const main = await reconcile(store, secretPaths.application, (current) => {
    const username = loginPair(endpoint.username, current?.["username"]).login;
    return makeSecret({ ...endpoint, username }, password ?? (current?.["password"] || generated));
  });
  const secret = main.data as ApplicationSecret;
  const local = await reconcile(store, secretPaths.applicationLocal, () =>
    makeSecret({ ...endpoint, ...endpoint.local, username: secret.username }, secret.password),
  );
  return { secret, isChanged: main.isWritten || local.isWritten };
}

/**
 * Lets the application's secrets name another login: first the one of which `current` is the newest version, then the
 * one for the host. Whoever was cut off in between calls `followLogin()`.
 *
 * @throws {SecretConflict} when somebody else wrote the first one meanwhile; nothing was written
 */
export async function switchLogin(store: SecretStore, current: SecretVersion, login: Login): Promise<void> {
  await store.write(secretPaths.application, withLogin(current.data, login), { cas: current.version });
  await followLogin(store, login);
}

/** Lets the secret for the host name the login that the application's secret names. */
export async function followLogin(store: SecretStore, login: Login): Promise<void> {
  await reconcile(store, secretPaths.applicationLocal, (current) => withLogin(current ?? {}, login));
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

function withLogin(data: SecretData, { username, password }: Login): SecretData {
  const [host, port, database] = ["host", "port", "database"].map((key) =>
    requireKey(data, key, secretPaths.application),
  );
  const endpoint = { host, port: Number(port), database, username } as ApplicationEndpoint;
  return { ...data, ...makeSecret(endpoint, password) };
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
