// Which test files run on which runtime, and which of them a second user does not repeat.
import type { TestFile } from "./test-file.ts";

/**
 * These run on Bun alone, because what they test does not differ by runtime: it is up to the server (the log, plans,
 * statistics, roles, and what archives hold), or to files (copies of a stack). The runner itself needs Bun.
 */
const onBunOnly = [
  "archive-application",
  "archive-objects",
  "archive-refusals",
  "archive-upgrades",
  "destroyed-databases",
  "doctor-configuration",
  "doctor-files",
  "doctor-host",
  "doctor-projections",
  "doctor-schema",
  "doctor-server",
  "doctor-sessions",
  "doctor-start",
  "external-variables",
  "doctor-vault",
  "horizon-cost",
  "impostor",
  "log-crash-oracle",
  "log-epochs",
  "log-epochs-limits",
  "log-oracle",
  "log-power-cut",
  "other-stack",
  "plans",
  "progress-line",
  "redaction-statistics",
  "rerun",
  "repoint",
  "restore-redactions",
  "restore-schema",
  "roles",
  "server-versions",
  "stack-identity",
  "stack-identity-shared",
  "stack-identity-vault",
  "standby",
  "status-log-holder",
  "vault-migrate",
  "vault-stolen",
  "unusable-disk",
  "verify-elsewhere",
  "verify-log",
  "verify-projections",
  "verify-schema",
  "verify-storage",
];

/**
 * What these test does not depend on the user who runs them: it is up to a server that has started, or to our own
 * memory. Files that are not listed here test folders, processes, servers that start, and everything new.
 */
const sameForEveryUser = [
  "append-client",
  "append-concurrency",
  "append-race",
  "archive-application",
  "archive-corruption",
  "archive-crash",
  "archive-objects",
  "archive-options",
  "archive-refusals",
  "archive-upgrades",
  "doctor-projections",
  "doctor-schema",
  "doctor-server",
  "doctor-sessions",
  "doctor-vault",
  "dynamic",
  "event-crash",
  "external-mode",
  "horizon-cost",
  "impostor",
  "inline-projections",
  "inline-projections-crash",
  "inline-projections-handover",
  "large-events",
  "log-crash-oracle",
  "log-epochs",
  "log-epochs-limits",
  "log-oracle",
  "log-power-cut",
  "migration-steps",
  "order-summary",
  "other-stack",
  "plain-follower",
  "plans",
  "projection",
  "projection-chaos",
  "projection-failures",
  "projection-race",
  "projection-rules",
  "project-migrations",
  "projections-command",
  "project-schema-life",
  "redaction-dead-letters",
  "redaction-statistics",
  "restore",
  "restore-redactions",
  "restore-schema",
  "roles",
  "rotation",
  "rotation-client",
  "rotation-kill",
  "rotation-vault",
  "schema-lint",
  "schema-lock",
  "schema-repair",
  "secrets-leaks",
  "server-versions",
  "session-chaos",
  "session-connect",
  "session-copy",
  "session-cut",
  "session-dump",
  "session-frozen",
  "session-listen",
  "session-pieces",
  "session-pool",
  "session-result",
  "session-statement",
  "session-transaction",
  "stack-identity-shared",
  "stack-identity-vault",
  "status-log-holder",
  "subscribe-live",
  "test-file",
  "upcast-rewrites",
  "verify-elsewhere",
  "verify-log",
  "verify-projections",
  "verify-schema",
  "vault-failures",
  "vault-kill",
  "vault-roles",
  "vault-migrate",
  "vault-stolen",
  "visible-failures",
  "wait-for",
];

/** The path of a file in `tests/integration`. */
export function integrationTest(name: string): string {
  return `tests/integration/${name}.test.ts`;
}

const bunFiles = new Set(onBunOnly.map(integrationTest));
const onceFiles = new Set(sameForEveryUser.map(integrationTest));

/** The files that this module names; each must exist. */
export const selectedFiles: readonly string[] = [...bunFiles, ...onceFiles];

/** Whether a file is of the package. These start each runtime themselves, and run once. */
export function isOfPackage(file: string): boolean {
  return file.includes("tests/package/");
}

/** The scripts need Bun or Deno. The driver also has to work in a program on Node.js. */
export function isFor(runtime: TestFile["runtime"], file: string): boolean {
  if (isOfPackage(file)) return false;
  if (bunFiles.has(file)) return runtime === "bun";
  return runtime !== "node" || file.includes("/session-");
}

/** A division of test files. */
export interface Division {
  readonly toRun: readonly string[];
  /** Those that another user has passed, and that are the same for every user. */
  readonly passed: readonly string[];
}

/** @param listed lists the files that passed as another user, in the same state of the project, one per line */
export function divideByPassed(files: readonly string[], listed: string): Division {
  const all = new Set(listed.split("\n"));
  const isPassed = (file: string) => all.has(file) && onceFiles.has(file);
  return { toRun: files.filter((file) => !isPassed(file)), passed: files.filter(isPassed) };
}
