import assert from "node:assert/strict";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { bootstrapTestStack, type TestStack } from "./stack.ts";

/**
 * Kills all processes of a server at once, as a power cut does, and starts it again on the same data. What was not
 * flushed is lost: killing only the postmaster would give its children time to flush.
 */
export async function cutPower(stack: TestStack): Promise<void> {
  const postmaster = await findPostmaster(stack.dataDir);
  assert.equal(postmaster.state, "running");
  await using admin = openConnection(await stack.administrator());
  const children = await admin.sql<{ pid: number }[]>`select pid from pg_stat_activity`;
  // The postmaster first, so that it neither starts others nor sees its children die.
  const pids = [postmaster.pid, ...children.map(({ pid }) => pid)];
  signalAll(pids, "SIGSTOP");
  signalAll(pids, "SIGKILL");
  do await sleep(10);
  while (pids.some(isAlive));
  await bootstrapTestStack(stack.stackDir);
}

/**
 * Suspends the processes that flush in the background, so that a power cut loses everything that no commit has flushed
 * since. Disposing resumes them if they still exist.
 *
 * @param admin a superuser's connection
 */
export async function holdFlushes(admin: Sql): Promise<AsyncDisposable> {
  await admin`checkpoint`;
  const rows = await admin<{ pid: number }[]>`
    select pid from pg_stat_activity
    where backend_type in ('walwriter', 'background writer', 'checkpointer', 'autovacuum launcher')`;
  assert.equal(rows.length, 4);
  const pids = rows.map(({ pid }) => pid);
  signalAll(pids, "SIGSTOP");
  return {
    async [Symbol.asyncDispose]() {
      signalAll(pids, "SIGCONT");
    },
  };
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended by itself.
    }
  }
}
