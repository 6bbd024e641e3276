import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { loginPair } from "../login-names.ts";
import { retry } from "../retry.ts";
import { jdbcTlsParameters, type ServerAddress, type TlsSettings, tlsParameters, urlAddress } from "../server-url.ts";
import { tlsModes } from "../tls-mode.ts";
import { generatePassword } from "./password.ts";
import { isSameSecret, SecretConflict, type SecretData, type SecretStore, type SecretVersion } from "./store.ts";

/** Paths of secrets; the first part is the mount. */
export const secretPaths = {
  /** The application's credentials. */
  application: "secret/cqrs-spike/database",
  /** The same credentials, with the address for programs on the host. */
  applicationLocal: "secret/cqrs-spike/database-local",
  /** The key that encrypts archives; applications may not read it. */
  archiveKey: "secret/cqrs-spike/archive-key",
  /** The embedded server's superuser. Always in files, so that losing Vault does not lock anyone out. */
  superuser: "embedded/superuser",
} as const;

/** The address of a server, how to use TLS with it, and the application's login. */
export interface ApplicationEndpoint extends ServerAddress, TlsSettings {
  readonly username: string;
  /** The address for programs on the host, if it differs. */
  readonly local?: { readonly host: string; readonly port: number } | undefined;
}

/** Keys that every secret of the application has. */
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

/**
 * The application's secret: the four keys of a Spring data source, then keys for other languages. The last two have the
 * names of libpq's parameters, and are absent if no TLS settings are known.
 */
export type ApplicationSecret = Readonly<
  Record<(typeof applicationSecretKeys)[number], string> & Partial<Record<"sslmode" | "sslrootcert", string>>
>;

const writeAttempts = 10;

/** A login and its password. */
export type Login = Pick<ApplicationSecret, "username" | "password">;

/**
 * Brings the application's secrets up to date with the server's address and names. Keeps the stored login if it is one
 * of the pair.
 *
 * @param password the configured password; by default the stored one, or a generated one if there is none
 * @returns the secret, and whether anything was written
 * @throws {SecretConflict} if every attempt conflicted with another writer
 */
export async function ensureApplicationSecret(
  store: SecretStore,
  endpoint: ApplicationEndpoint,
  password?: string,
): Promise<{ readonly secret: ApplicationSecret; readonly isChanged: boolean }> {
  const generated = generatePassword();
  const main = await reconcile(store, secretPaths.application, (current) => {
    const username = loginPair(endpoint.username, current?.["username"]).current;
    return makeSecret({ ...endpoint, username }, password ?? (current?.["password"] || generated));
  });
  const secret = main.data as ApplicationSecret;
  const local = await reconcile(store, secretPaths.applicationLocal, () =>
    makeSecret({ ...endpoint, ...endpoint.local, username: secret.username }, secret.password),
  );
  return { secret, isChanged: main.isWritten || local.isWritten };
}

/**
 * Writes another login to the application's secrets: first to the main one, whose newest version is `current`, then to
 * the one for the host. If this is interrupted between the two, {@link switchLocalLogin} completes it.
 *
 * @throws {SecretConflict} if the main secret has been written since; nothing was written
 */
export async function switchLogin(store: SecretStore, current: SecretVersion, login: Login): Promise<void> {
  await store.write(secretPaths.application, withLogin(current.data, login), { cas: current.version });
  await switchLocalLogin(store, login);
}

/** Writes a login to the secret for programs on the host. */
export async function switchLocalLogin(store: SecretStore, login: Login): Promise<void> {
  await reconcile(store, secretPaths.applicationLocal, (current) => withLogin(current ?? {}, login));
}

/** @throws {ScriptError} `SECRETS_UNUSABLE` (exit 2) if the value is missing or empty */
export function requireKey(data: SecretData, key: string, path: string): string {
  const value = data[key];
  if (value !== undefined && value !== "") return value;
  throw new ScriptError({
    code: "SECRETS_UNUSABLE",
    exitCode: exitCodes.usage,
    message: `The secret ${path} has no ${key}`,
    why: "Someone wrote a new version without it. An older version may still be complete.",
    fix: `Write the secret again with all its keys, or remove all its versions and run ${runLine("bootstrap")}.`,
  });
}

/**
 * @returns how to use TLS according to a secret
 * @throws {ScriptError} `SECRETS_UNUSABLE` (exit 2) for an unknown `sslmode`
 */
export function tlsOfSecret({ sslmode, sslrootcert }: SecretData, path: string): TlsSettings {
  const tls = tlsModes.find((mode) => mode === sslmode);
  if (sslmode !== undefined && tls === undefined) throw unknownTlsMode(sslmode, path);
  return {
    ...(tls === undefined ? {} : { tls }),
    ...(sslrootcert === undefined ? {} : { tlsRootCert: sslrootcert }),
  };
}

function unknownTlsMode(sslmode: string, path: string): ScriptError {
  return new ScriptError({
    code: "SECRETS_UNUSABLE",
    exitCode: exitCodes.usage,
    message: `The secret ${path} has an unknown sslmode: ${sslmode}`,
    fix: `Run ${runLine("bootstrap")}, which writes it again.`,
  });
}

async function reconcile(
  store: SecretStore,
  path: string,
  wanted: (current: SecretData | undefined) => SecretData,
): Promise<{ readonly data: SecretData; readonly isWritten: boolean }> {
  const work = async () => {
    const current = await store.read(path);
    const { sslmode: _, sslrootcert: __, ...kept } = current?.data ?? {};
    const data = { ...kept, ...wanted(current?.data) };
    if (current !== undefined && isSameSecret(current.data, data)) return { data, isWritten: false };
    await store.write(path, data, { cas: current?.version ?? 0 });
    return { data, isWritten: true };
  };
  const pauseMs = (error: unknown, attempt: number) =>
    error instanceof SecretConflict && attempt < writeAttempts ? 0 : undefined;
  return retry(work, { pauseMs });
}

function withLogin(data: SecretData, { username, password }: Login): SecretData {
  const [host, port, database] = ["host", "port", "database"].map((key) =>
    requireKey(data, key, secretPaths.application),
  );
  const tls = tlsOfSecret(data, secretPaths.application);
  const endpoint = { host, port: Number(port), database, username, ...tls } as ApplicationEndpoint;
  return { ...data, ...makeSecret(endpoint, password) };
}

function makeSecret(endpoint: ApplicationEndpoint, password: string): ApplicationSecret {
  const { host, port, database, username, tls, tlsRootCert } = endpoint;
  const address = urlAddress(endpoint);
  return {
    username,
    password,
    url: `jdbc:postgresql://${address}${jdbcTlsParameters(endpoint)}`,
    "driver-class-name": "org.postgresql.Driver",
    host,
    port: `${port}`,
    database,
    uri: `postgres://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${address}${tlsParameters(endpoint)}`,
    ...(tls === undefined ? {} : { sslmode: tls }),
    ...(tlsRootCert === undefined ? {} : { sslrootcert: tlsRootCert }),
  };
}
