import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { type DumpBlock, describeBlock, splitDump } from "../postgres/pg-dump/blocks.ts";
import { inSavepoint, inTransaction } from "../postgres/transaction.ts";
import type { Manifest } from "./manifest.ts";
import { isRefusal, namingObject } from "./restore-error.ts";

/** The statements that create the objects of an archive. */
export interface SchemaScript {
  /** Creates what rows need. */
  runPreData(tx: Sql): Promise<void>;
  /** Creates keys, indexes, triggers and everything else that comes after the rows. */
  runPostData(tx: Sql): Promise<void>;
  /** Creates event triggers, which would otherwise fire while the rest is restored. */
  runLast(sql: Sql): Promise<void>;
}

/** Which statements to read, and how to adapt them. */
export interface ScriptOptions extends Pick<Manifest, "schema"> {
  /** The archive's folder. */
  readonly dir: string;
  /** Leaves out what applications created, and what depends on it. */
  readonly onlyEventStore: boolean;
  readonly onWarning: (text: string) => void;
}

/** Reads the statements of an archive, and adapts them to the server and its administrator. */
export async function readSchemaScript(
  sql: Sql,
  { dir, schema, onlyEventStore, onWarning }: ScriptOptions,
): Promise<SchemaScript> {
  const isSuperuser = await readIsSuperuser(sql);
  const read = async (path: string) => splitDump(await readFile(join(dir, path), "utf8"));
  const isWanted = (block: DumpBlock) => !onlyEventStore || block.owner !== groupRoles.app;
  const [preSettings, ...preData] = (await read(schema.preData.path)).filter(isWanted);
  const [postSettings, ...postData] = (await read(schema.postData.path)).filter(isWanted);
  const lastAt = postData.findIndex(({ type }) => type === "EVENT TRIGGER");
  const end = lastAt < 0 ? postData.length : lastAt;
  const run = async (tx: Sql, block: DumpBlock) => {
    if (onlyEventStore && !isEssential(block)) await runLeniently(tx, block, onWarning);
    else await namingObject(describeBlock(block), async () => tx.unsafe(block.sql).simple());
  };
  const runAll = async (tx: Sql, settings: DumpBlock | undefined, blocks: readonly DumpBlock[]) => {
    await tx.unsafe(await knownSettings(tx, settings?.sql ?? "")).simple();
    for (const block of blocks) await run(tx, block);
  };
  return {
    async runPreData(tx) {
      if (isSuperuser) return runAll(tx, preSettings, preData);
      const [extensions, others] = inOrderForOwner(preData);
      await runAll(tx, preSettings, extensions);
      await tx.unsafe(`set local role ${groupRoles.owner}`);
      for (const block of others) await run(tx, block);
    },
    runPostData: (tx) => runAll(tx, postSettings, postData.slice(0, end)),
    async runLast(sql) {
      const last = postData.slice(end);
      if (last.length > 0) await inTransaction(sql, (tx) => runAll(tx, postSettings, last));
    },
  };
}

async function readIsSuperuser(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ isSuperuser: boolean }[]>`
    select rolsuper as "isSuperuser" from pg_catalog.pg_roles where rolname = current_user`;
  return row?.isSuperuser === true;
}

/** Whether the log needs an object. Others may depend on objects that are left out. */
function isEssential({ schema, type }: DumpBlock): boolean {
  return schema === "event_store" || type === "SCHEMA";
}

async function runLeniently(tx: Sql, block: DumpBlock, onWarning: (text: string) => void): Promise<void> {
  try {
    await inSavepoint(tx, async (savepoint) => savepoint.unsafe(block.sql).simple());
  } catch (error) {
    if (!isRefusal(error)) throw error;
    onWarning(`left out ${describeBlock(block)}: ${(error as Error).message}`);
  }
}

/**
 * Without a superuser, the administrator creates extensions, and the owner everything else. It needs the privileges on
 * the schemas before it can give objects in them to the application.
 */
function inOrderForOwner(blocks: readonly DumpBlock[]): [extensions: DumpBlock[], others: DumpBlock[]] {
  const rank = ({ type, name }: DumpBlock) => {
    if (type === "EXTENSION" || (type === "COMMENT" && name.startsWith("EXTENSION "))) return 0;
    if (type === "SCHEMA") return 1;
    if (type === "ACL" && name.startsWith("SCHEMA ")) return 2;
    return 3;
  };
  const ordered = blocks.toSorted((a, b) => rank(a) - rank(b));
  return [ordered.filter((block) => rank(block) === 0), ordered.filter((block) => rank(block) > 0)];
}

/** Leaves out settings that this server does not have: those of a newer pg_dump. */
async function knownSettings(tx: Sql, settings: string): Promise<string> {
  const rows = await tx<{ name: string }[]>`select name from pg_catalog.pg_settings`;
  const known = new Set(rows.map(({ name }) => name));
  return settings.replaceAll(/^SET (\w+) = .*$/gm, (line, name) => (known.has(name) ? line : ""));
}
