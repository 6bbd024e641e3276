import { readCommitProblems } from "../operations/log-problems.ts";
import { type Finding, noProblems } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";

export const settingsChecks: readonly Check[] = [
  { id: "durability", title: "A commit survives a crash", run: checkDurability },
];

async function checkDurability({ sql }: VerifyContext): Promise<Finding> {
  const rows = await sql<{ name: string; setting: string }[]>`
    select name, setting from pg_settings
    where name in ('fsync', 'full_page_writes', 'synchronous_commit') order by name`;
  const off = rows.filter(({ name, setting }) => name !== "synchronous_commit" && setting === "off");
  const problems = [
    ...off.map(({ name }) => `${name} is off: a crash of the machine may destroy the whole database`),
    ...(await readCommitProblems(sql)),
  ];
  const evidence = rows.map(({ name, setting }) => `${name} = ${setting}`).join(", ");
  return noProblems(problems, evidence, "Set it to on (alter system, alter database or alter role), and reload.");
}
