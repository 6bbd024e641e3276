import { existsSync } from "node:fs";
import type { Confirmation } from "../cli/confirm.ts";
import { isSameLogin } from "../login-names.ts";
import { secretPaths } from "../secrets/application-secret.ts";
import type { Stack } from "./stack.ts";

/** Asks a question; throws `REFUSED` (exit 8) if the answer is no. */
export type Confirm = (confirmation: Confirmation) => Promise<void>;

type Names = Pick<Stack, "database" | "user">;

/**
 * Asks before applications get another database or login than they have: they would find another, often empty, database
 * after their next start. The first bootstrap never asks.
 *
 * @throws {ScriptError} `REFUSED` (exit 8); nothing was written
 */
export async function confirmRepointing(stack: Stack, confirm: Confirm): Promise<void> {
  const known = await readKnownNames(stack);
  if (known === undefined) return;
  const { database, user } = stack;
  const hasOtherDatabase = known.database !== database;
  const hasOtherUser = !isSameLogin(known.user, user);
  if (!hasOtherDatabase && !hasOtherUser) return;
  await confirm({
    plan: [
      ...(hasOtherDatabase ? [`re-points applications from the database ${known.database} to ${database}`] : []),
      ...(hasOtherUser ? [`re-points applications from the login ${known.user} to ${user}`] : []),
      ...(hasOtherDatabase ? [`keeps: ${known.database} and its data, which applications will no longer use`] : []),
      `from now on, applications and commands use the database ${database} as ${user}`,
    ].join("\n"),
    question: "Re-point them?",
    refusal: "Nothing was changed",
    data: { database: { from: known.database, to: database }, user: { from: known.user, to: user } },
  });
}

/** If the state was lost, the secret still has the names; but that of a cluster that was deleted does not count. */
async function readKnownNames({ remembered, mode, dataDir, secretsPlace, secrets }: Stack): Promise<Names | undefined> {
  if (remembered !== undefined) return remembered;
  if (mode !== "embedded" || secretsPlace !== "file" || !existsSync(dataDir)) return undefined;
  const { database, username } = (await secrets.read(secretPaths.application))?.data ?? {};
  return database === undefined || username === undefined ? undefined : { database, user: username };
}
