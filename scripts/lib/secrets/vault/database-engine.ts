import { type ServerAddress, type TlsSettings, tlsParameters, urlAddress } from "../../server-url.ts";
import type { Login } from "../application-secret.ts";
import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";

/** Where Vault issues logins. Reading the path `credentials` issues one. */
export const databaseEngine = {
  mount: "database",
  connection: "cqrs",
  role: "cqrs-app",
  credentials: "database/creds/cqrs-app",
} as const;

/** What the engine needs to issue logins. */
export interface DatabaseEngine {
  /** The server's address, as Vault reaches it. */
  readonly server: ServerAddress & TlsSettings;
  /** The login that Vault uses to create others; only Vault stores its password. */
  readonly issuer: Login;
  /** Statements with `{{name}}`, `{{password}}` and `{{expiration}}`. */
  readonly creation: string;
  readonly revocation: string;
}

/** How long a login is valid, and how long it can be extended. */
const ttl = { default: "1h", max: "24h" } as const;

/**
 * Configures Vault's database engine to issue logins for the application. Vault immediately logs in as the issuer.
 *
 * @throws {ScriptError} if Vault refuses the request or cannot reach the database
 */
export async function configureDatabaseEngine(client: VaultClient, engine: DatabaseEngine): Promise<void> {
  await mountEngine(client);
  const address = `${urlAddress(engine.server)}${tlsParameters(engine.server) || "?sslmode=prefer"}`;
  await client.request({
    method: "POST",
    path: `${databaseEngine.mount}/config/${databaseEngine.connection}`,
    body: {
      plugin_name: "postgresql-database-plugin",
      allowed_roles: [databaseEngine.role],
      connection_url: `postgresql://{{username}}:{{password}}@${address}&application_name=vault`,
      username: engine.issuer.username,
      password: engine.issuer.password,
      // Vault sends a verifier, never the password.
      password_authentication: "scram-sha-256",
      verify_connection: true,
    },
  });
  await client.request({
    method: "POST",
    path: `${databaseEngine.mount}/roles/${databaseEngine.role}`,
    body: {
      db_name: databaseEngine.connection,
      creation_statements: [engine.creation],
      // As JSON within the list: the plugin splits plain text at each semicolon, even inside a code block.
      revocation_statements: [JSON.stringify([engine.revocation])],
      default_ttl: ttl.default,
      max_ttl: ttl.max,
    },
  });
}

async function mountEngine(client: VaultClient): Promise<void> {
  const request = { method: "POST", path: `sys/mounts/${databaseEngine.mount}`, body: { type: "database" } } as const;
  try {
    await client.request(request, { expected: [400] });
  } catch (error) {
    const exists = error instanceof VaultFailure && /already in use/.test(error.text);
    if (!exists) throw error;
  }
}
