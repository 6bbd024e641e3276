// Compares scripts/README.md with the scripts: their headers, and the flags that they accept.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { ScriptCommand } from "../../scripts/lib/cli/define-script.ts";
import { sharedFlags } from "../../scripts/lib/cli/flags.ts";
import { loadCommand, subcommandsOf } from "../../scripts/lib/cli/resolve-command.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { command as root } from "../../scripts/main.ts";

const folder = join(assetsDir, "scripts");
const reference = await readFile(join(folder, "README.md"), "utf8");
const names = Object.keys(subcommandsOf(root) ?? {});

for (const name of names) {
  test(`scripts/README.md repeats what ${name}.ts reads, writes and exits with, as in its header`, async () => {
    const header = plain(headerOf(await readFile(join(folder, `${name}.ts`), "utf8")));
    const contract = header.slice(header.indexOf("Reads: "));
    assert.match(contract, /^Reads: .+\. Writes: .+\. Exits: 0/);
    assert.ok(plain(sectionOf(name)).includes(contract), contract);
  });

  test(`scripts/README.md lists every flag of ${name}`, async () => {
    const section = sectionOf(name);
    const missing = (await ownFlags(name)).filter((flag) => !new RegExp(`\`--${flag}[ \`]`).test(section));
    assert.deepEqual(missing, []);
  });
}

test("every script has at most 120 lines", async () => {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".ts"));
  for (const file of files) {
    const lines = (await readFile(join(folder, file), "utf8")).trimEnd().split("\n");
    assert.ok(lines.length <= 120, `${file} has ${lines.length} lines`);
  }
});

/** The comment at the beginning of a script. */
function headerOf(source: string): string {
  const lines = source.split("\n");
  const end = lines.findIndex((line) => !line.startsWith("// "));
  return lines
    .slice(0, end)
    .map((line) => line.slice("// ".length))
    .join("\n");
}

function sectionOf(name: string): string {
  const [, section = ""] = reference.split(`\n### \`${name}\`\n`);
  return section.split(/\n##/)[0] ?? "";
}

/** Without line breaks and code marks. */
function plain(text: string): string {
  return text.replaceAll("`", "").replaceAll(/\s+/g, " ").trim();
}

async function ownFlags(name: string): Promise<string[]> {
  const command = await loadCommand(subcommandsOf(root)?.[name] as ScriptCommand);
  const commands = [command, ...(await Promise.all(Object.values(subcommandsOf(command) ?? {}).map(loadCommand)))];
  const flags = commands.flatMap(({ definitions }) =>
    Object.entries(definitions).filter(
      ([flag, one]) => one.type !== "positional" && one !== (sharedFlags as typeof definitions)[flag],
    ),
  );
  return [...new Set(flags.map(([flag]) => flag))];
}
