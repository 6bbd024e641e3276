#!/usr/bin/env node
// The command of the package: `npx cqrs-postgres status`. Older versions of Node.js cannot parse what main.ts imports, so
// nothing else is loaded before the version is known.
import process from "node:process";

if (isSupported()) {
  hideSqliteWarning();
  const { command } = await import("./main.ts");
  const { runAsProcess } = await import("./lib/cli/run-as-process.ts");
  await runAsProcess(command);
} else {
  const { node } = process.versions;
  process.stderr.write(`cqrs-postgres needs Bun, Deno, or Node.js 22.15 or newer; this is Node.js ${node}.\n`);
  process.exitCode = 9;
}

/** Bun and Deno also name a version of Node.js. Archives need zstd, which Node.js has from 22.15 and from 23.8. */
function isSupported(): boolean {
  const { bun, deno, node } = process.versions;
  if (bun !== undefined || deno !== undefined) return true;
  const [major = 0, minor = 0] = node.split(".").map(Number);
  return major > 23 || (major === 23 && minor >= 8) || (major === 22 && minor >= 15);
}

/** Node.js 22 calls SQLite experimental. The lock of a stack uses no more of it than a transaction. */
function hideSqliteWarning(): void {
  const emit = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...details: never[]) => {
    if (!String(warning).startsWith("SQLite is an experimental feature")) {
      Reflect.apply(emit, process, [warning, ...details]);
    }
  };
}
