import { checkOptions, isText, type OptionChecks } from "../event-store/check-options.ts";
import { commonOptions, type EventStore, openEventStore } from "../event-store/store.ts";
import { connectionFailure } from "../postgres/failure.ts";
import { connectionUrl } from "../postgres/target.ts";
import type { ConnectOptions } from "../stack/connect.ts";
import { lockForRun, type RunContext } from "../stack/stack.ts";
import type { Template } from "../stack/template.ts";
import { makeRun } from "./progress.ts";
import { locateStack } from "./stack-folder.ts";
import { ensureTestTemplate, findTemplate } from "./template.ts";
import { cloneTemplate, dropTestDatabase } from "./test-database.ts";
import { findTestServer, openTestCluster, startTestServer, stopTestCluster, type TestServer } from "./test-server.ts";

/** How to open the event store of a test; `projectDir` is the folder of the project whose test server it is. */
export type TestStoreOptions = Omit<ConnectOptions, "url">;

/** The event store of a test. Disposing of it drops its database. */
export interface TestStore extends EventStore {
  /** Name of its database. */
  readonly database: string;
  /** `postgres://user:password@host:port/database`, with the application's login, for programs and other clients. */
  readonly url: string;
}

const testStoreOptions: OptionChecks<TestStoreOptions> = { ...commonOptions, projectDir: isText };

/** Tests run concurrently, and share the connections of one server. */
const defaultConnections = 4;

/**
 * Creates an event store of its own for a test: an empty database with the current schema, used with the application's
 * login and privileges.
 *
 * The first call starts the project's test server, which takes about two seconds if it has to be created. It is a server
 * of its own, which keeps running until `stopTestServer()`; no other server is ever used.
 *
 * @throws {ScriptError} `NOT_A_TEST_SERVER` if another server answers on the port of the test server
 * @throws {InvalidInput} if an option is unknown or invalid
 */
export async function createTestStore(options: TestStoreOptions = {}): Promise<TestStore> {
  checkOptions(options, testStoreOptions, "createTestStore()");
  const { projectDir, ...others } = options;
  return await openTestStore(locateStack(projectDir), others);
}

/** Does what {@link createTestStore} does, with the test server of a stack. */
export async function openTestStore(
  stackDir: string,
  options: Omit<TestStoreOptions, "projectDir"> = {},
): Promise<TestStore> {
  const { server, database } = await createDatabase(stackDir, makeRun(options.logger));
  const target = { ...server.application, database };
  const drop = () => dropTestDatabase(server.administrator, database);
  try {
    const store = openEventStore({ ...target, maxConnections: defaultConnections, ...options });
    return {
      ...store,
      database,
      url: connectionUrl(target),
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]();
        await drop();
      },
    };
  } catch (error) {
    await drop();
    throw error;
  }
}

/**
 * Stops the test server of the project, for example after the last run. The next `createTestStore()` starts it again.
 *
 * @returns whether it was running
 */
export async function stopTestServer(options: Pick<TestStoreOptions, "projectDir"> = {}): Promise<boolean> {
  checkOptions(options, { projectDir: isText }, "stopTestServer()");
  const stack = await openTestCluster(locateStack(options.projectDir));
  return (await stopTestCluster(stack, makeRun(undefined))) !== undefined;
}

interface CreatedDatabase {
  readonly server: TestServer;
  readonly database: string;
}

/** Another process may stop the server, or drop the template, just before it is copied. */
const attempts = 3;

async function createDatabase(stackDir: string, run: RunContext): Promise<CreatedDatabase> {
  const template = await findTemplate();
  for (let attempt = 0; attempt <= attempts; attempt++) {
    const find = attempt === 0 ? findTestServer(stackDir) : prepareServer(stackDir, template, run);
    const server = await find;
    const database = server === undefined ? undefined : await clone(server, template);
    if (server !== undefined && database !== undefined) return { server, database };
  }
  throw new Error(`the test server in ${stackDir} was stopped ${attempts} times while a database was being created`);
}

/** Starts the server and builds the template. Of several processes, one does it and the others wait. */
async function prepareServer(stackDir: string, template: Template, run: RunContext): Promise<TestServer> {
  using _lock = await lockForRun(await openTestCluster(stackDir), run, "createTestStore()");
  const server = await startTestServer(stackDir, run);
  await ensureTestTemplate(server, template, run);
  return server;
}

/** @returns undefined if the server does not answer or accept its superuser, or there is no such template */
async function clone(server: TestServer, { name }: Template): Promise<string | undefined> {
  try {
    return await cloneTemplate(server, name);
  } catch (error) {
    if (connectionFailure(error) !== undefined) return undefined;
    throw error;
  }
}
