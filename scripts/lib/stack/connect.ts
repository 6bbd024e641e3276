import { loadConfig, parseServerUrl, unusableUrl } from "../config.ts";
import { checkOptions, isText, type OptionChecks } from "../event-store/check-options.ts";
import { commonOptions, type EventStore, type EventStoreOptions, openEventStore } from "../event-store/store.ts";
import { programEnvironment } from "../runtime.ts";
import { openStackStore } from "./open-store.ts";
import { openStack } from "./stack.ts";

/** How an application connects to its event store. */
export interface ConnectOptions
  extends Pick<
    EventStoreOptions,
    "applicationName" | "maxConnections" | "upcasters" | "inlineProjections" | "logger" | "prepare"
  > {
  /** `postgres://user:password@host:port/database`; by default, the server and login in the stack's secret. */
  readonly url?: string;
  /**
   * The folder of the project with the stack. By default, CQRS_PROJECT_DIR; or else it is searched upwards from the
   * working folder, then from the folder of the program.
   */
  readonly projectDir?: string;
}

const connectOptions: OptionChecks<ConnectOptions> = { ...commonOptions, url: isText, projectDir: isText };

/**
 * Opens the event store with the credentials from the configured secret store. Each new connection reads the secret
 * again, so that a rotation is picked up without a restart.
 *
 * Reads `process.env`, then the project's `.env`.
 *
 * @throws {ScriptError} `SECRETS_MISSING` before the first bootstrap, `CONFIGURATION` for an invalid URL or setting,
 * `NO_PROJECT` if there is no project
 * @throws {InvalidInput} if an option is unknown or invalid
 */
export async function connect(options: ConnectOptions = {}): Promise<EventStore> {
  checkOptions(options, connectOptions, "connect()");
  const { url, projectDir, ...others } = options;
  if (url !== undefined) return openEventStore({ ...serverOfUrl(url), ...others });
  const config = loadConfig({ project: projectDir }, { environment: programEnvironment() });
  return openStackStore(await openStack(config, "application"), others);
}

function serverOfUrl(url: string): Omit<EventStoreOptions, "password"> & { readonly password: string } {
  const { database, password = "", ...server } = parseServerUrl(url);
  if (database === undefined) throw unusableUrl("It contains no database.");
  return { ...server, database, password };
}
