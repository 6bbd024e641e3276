import { readAdministrator } from "../postgres/logins/roles.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { applySchema } from "../schema/apply.ts";
import { readSchema } from "../schema/source.ts";
import { ensureDatabase } from "../stack/database.ts";
import { type RunContext, waitLimit } from "../stack/stack.ts";
import { ensureTemplate, nameTemplate, type Template } from "../stack/template.ts";
import { openServer, type TestServer } from "./test-server.ts";

/** Determines the template of the test databases: its files are those that `bootstrap` applies. */
export async function findTemplate(): Promise<Template> {
  return nameTemplate((await readSchema()).filter(({ kind }) => kind !== "optional"));
}

/** Builds a template unless it exists. The caller holds the lock of the test server's stack. */
export async function ensureTestTemplate(server: TestServer, template: Template, run: RunContext): Promise<void> {
  await using connection = await openServer(server);
  const { sql } = connection;
  await ensureTemplate(sql, template, async (name) => {
    await ensureDatabase(sql, await readAdministrator(sql), name);
    await applyFiles({ ...server.administrator, database: name }, server, { template, run });
  });
}

interface Application {
  readonly template: Template;
  readonly run: RunContext;
}

async function applyFiles(target: ConnectionTarget, { stack }: TestServer, { template, run }: Application) {
  await applySchema(target, {
    ...waitLimit(stack, run),
    files: template.files,
    onWait: (holder) => run.reporter.info(`waiting for ${holder}, which is changing the schema`),
    onNotice: (text) => run.reporter.warn(text),
  });
}
