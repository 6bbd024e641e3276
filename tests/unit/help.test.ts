import assert from "node:assert/strict";
import { test } from "node:test";
import type { ScriptCommand } from "../../scripts/lib/cli/define-script.ts";
import { checkArguments } from "../../scripts/lib/cli/flags.ts";
import { describeCommand, renderHelp } from "../../scripts/lib/cli/help.ts";
import { loadCommand, resolveCommand, subcommandsOf } from "../../scripts/lib/cli/resolve-command.ts";
import { command as root } from "../../scripts/main.ts";

const commands = await allCommands("", root);

test("every command and subcommand is found", () => assert.ok(commands.length > 25));

for (const [name, command] of commands) {
  const title = name === "" ? "main" : name;

  test(`the help of ${title} fits 80 columns and has an example`, async () => {
    const text = renderHelp(await describeCommand(command, title), (heading) => heading);
    assert.deepEqual(
      text.split("\n").filter((line) => line.length > 80 || line.trimEnd() !== line),
      [],
    );
    for (const section of ["USAGE", "GLOBAL FLAGS", "EXAMPLES"]) assert.ok(text.includes(`\n${section}\n`), text);
  });

  test(`every example in the help of ${title} is a command line that is accepted`, async () => {
    for (const [line] of command.examples) {
      const [, given = ""] = /bun run (?:--silent )?(.*?)(?: [|>]|\)"|$)/.exec(line) ?? [];
      const { words, command: named, name: found, siblings } = await resolveCommand(root, given.split(" "));
      if (words.includes("--help")) continue;
      await checkArguments({ words, definitions: named.definitions, commands: siblings });
      assert.ok(found.startsWith(name), `${line} is about ${title}`);
      assert.ok(named.run !== undefined, line);
    }
  });
}

test("only the commands that ask offer --yes", async () => {
  const asking = [];
  for (const [name, command] of commands) {
    const { flags } = await describeCommand(command, name);
    if (flags.some((flag) => flag.name === "-y, --yes")) asking.push(name);
  }
  assert.deepEqual(asking, [
    "init",
    "bootstrap",
    "verify",
    "doctor",
    "destroy",
    "reset",
    "projections remove",
    "secrets init",
    "secrets rotate",
    "secrets migrate",
    "schema repair",
    "restore",
  ]);
});

test("the help of a group with a default command shows what that command takes", async () => {
  const backup = new Map(commands).get("backup") as ScriptCommand;
  const page = await describeCommand(backup, "backup");
  const flags = page.flags.map((flag) => flag.name);
  for (const flag of ["--to <folder>", "--output <file>", "--incremental", "--encrypt"])
    assert.ok(flags.includes(flag));
  assert.deepEqual(
    page.commands.map(({ name }) => name),
    ["create", "list", "verify", "prune"],
  );
});

async function allCommands(prefix: string, command: ScriptCommand): Promise<[name: string, command: ScriptCommand][]> {
  const found: [string, ScriptCommand][] = [[prefix, command]];
  for (const [name, lazy] of Object.entries(subcommandsOf(command) ?? {})) {
    found.push(...(await allCommands(`${prefix} ${name}`.trim(), await loadCommand(lazy))));
  }
  return found;
}
