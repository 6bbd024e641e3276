// Type-checks an application against the published declarations, as its author's compiler would.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { canRunNode, locateNode } from "../support/node.ts";
import { type Application, createApplication, packageSkip, sharedPackage } from "../support/package.ts";
import { runtimeCommand } from "../support/runtime.ts";

const skip = packageSkip;
/** The packages of the supported compilers: always the oldest and the newest, the others in a soak. */
const compilers = process.env["CQRS_TEST_ROUNDS"]
  ? ["typescript-5.4", "typescript-5.7", "typescript-5.9", "typescript-6.0", "typescript"]
  : ["typescript-5.4", "typescript"];

const application = `
import {
  type AggregateDefinition,
  appendEvents,
  type DomainEvent,
  decide,
  type EventStore,
  loadAggregate,
  openEventStore,
  type ProjectionDefinition,
  readAll,
  readStream,
  type Sql,
  VersionConflict,
} from "cqrs-postgres";
import manifest from "cqrs-postgres/package.json" with { type: "json" };
import { type ConnectOptions, connect, ScriptError } from "cqrs-postgres/stack";
import * as testing from "cqrs-postgres/testing";

type OrderPlaced = DomainEvent<"OrderPlaced", { readonly total: number }>;

const definition: AggregateDefinition<{ total: number }, OrderPlaced> = {
  type: "Order",
  initialState: () => ({ total: 0 }),
  evolve: (state, event) => ({ total: state.total + event.data.total }),
};

export const totals: ProjectionDefinition<OrderPlaced> = {
  name: "totals",
  version: 1,
  events: ["OrderPlaced"],
  relations: { names: ["total"], create: (tx) => tx\`create table total (total integer not null)\` },
  handle: (events, tx) => tx\`insert into total \${tx(events.map(({ data }) => ({ total: data.total })))}\`,
};

export async function run(options: ConnectOptions): Promise<string[]> {
  await using store: EventStore = await connect(options);
  const order = { type: "Order", id: "cart-123" };
  try {
    const placed: OrderPlaced = { type: "OrderPlaced", data: { total: 42 } };
    const { lastVersion } = await appendEvents(store, order, [placed], { expectedVersion: 0 });
    await decide(store, definition, "cart-123", ({ total }) => (total > lastVersion ? [] : [placed]));
  } catch (error) {
    if (!(error instanceof VersionConflict) && !(error instanceof ScriptError)) throw error;
  }
  const { state } = await loadAggregate(store, definition, "cart-123");
  const sql: Sql = store.sql;
  await sql\`select \${state.total.toFixed(2)}\`;
  for await (const event of readStream<OrderPlaced>(store, order)) console.log(event.position + 1n, event.data.total);
  for await (const batch of readAll(store)) console.log(batch);
  return [manifest.name, Object.keys(testing).join(), typeof openEventStore];
}

// @ts-expect-error There is no such option.
await connect({ maxConnection: 4 });
`;

const commonOptions = {
  target: "es2022",
  lib: ["es2022", "esnext.disposable"],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  noEmit: true,
  resolveJsonModule: true,
  types: ["node"],
};
const projects = {
  nodenext: { module: "nodenext" },
  bundler: { module: "esnext", moduleResolution: "bundler" },
};

let shared: Awaited<ReturnType<typeof sharedPackage>>;
let consumer: Application;
before(async () => {
  if (skip) return;
  shared = await sharedPackage();
  const settings = Object.entries(projects).map(([name, options]) => [
    `tsconfig.${name}.json`,
    JSON.stringify({ compilerOptions: { ...commonOptions, ...options }, files: ["application.ts"] }),
  ]);
  const files = { "application.ts": application, ...Object.fromEntries(settings) };
  const nodeTypes = { name: "@types/node", installedAs: "oldest-node-types" };
  consumer = await createApplication(shared.tarball, ["postgres", "uuidv7", nodeTypes], files);
});
after(async () => {
  await consumer?.[Symbol.asyncDispose]();
  await shared?.[Symbol.asyncDispose]();
});

for (const compiler of compilers) {
  for (const project of Object.keys(projects)) {
    test(`an application passes ${compiler} with ${project}, strict and without skipLibCheck`, { skip }, async () => {
      assert.equal(await compile(compiler, project), "");
    });
  }
}

/** @returns what the compiler objects to */
function compile(compiler: string, project: string): Promise<string> {
  const file = join(assetsDir, "node_modules", compiler, "bin/tsc");
  // A compiler in JavaScript takes half as long on Node.js.
  const [program = "", ...args] = canRunNode ? [locateNode(), file] : runtimeCommand(file);
  return new Promise((resolve) => {
    execFile(program, [...args, "-p", join(consumer.dir, `tsconfig.${project}.json`)], (error, stdout, stderr) =>
      resolve(error === null ? stdout : `${stdout}${stderr}` || error.message),
    );
  });
}
