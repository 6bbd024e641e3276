// Compares what the READMEs list with the code, and checks their form.
import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import type { CommandDef } from "citty";
import manifest from "../../package.json" with { type: "json" };
import { exitCodes } from "../../scripts/lib/cli/script-error.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { command } from "../../scripts/main.ts";
import { anchorsOf, blocksOf, cellsOf, firstCellsOf, proseOf, type Readme, readReadmes } from "../support/readme.ts";
import { denoPermissions } from "../support/runtime.ts";

const readmes = await readReadmes();
const everything = [...readmes.values()].map(({ text }) => text).join("\n");

function readme(file: string): Readme {
  const found = readmes.get(file);
  assert.ok(found, `${file} exists`);
  return found;
}

test("the README opens with two commands for Node.js and two for Bun, with the Bun of package.json", () => {
  const front = readme("README.md");
  const bun = manifest.packageManager;
  const [first, second] = blocksOf(front, "sh");
  assert.equal(first, `npx --yes ${bun} run setup\nnpx --yes ${bun} run test\n`);
  assert.equal(second, "bun run setup\nbun run test\n");
  assert.equal(front.text.indexOf("```"), front.text.indexOf("```sh\nnpx"), "the first code block of all");
});

test("scripts/README.md names the permissions that the tests give to Deno, and no other README does", () => {
  const blocks = [...readmes.values()].flatMap((one) => blocksOf(one, "sh").map((block) => ({ one, block })));
  const deno = blocks.filter(({ block }) => block.includes("deno run --allow"));
  assert.deepEqual(
    deno.map(({ one, block }) => [one.file, block]),
    [["scripts/README.md", `deno run ${denoPermissions.join(" ")} scripts/<name>.ts\n`]],
  );
});

test("each script has a command in package.json and is loaded lazily by main.ts", async () => {
  const files = (await readdir(join(assetsDir, "scripts"))).filter((name) => name.endsWith(".ts"));
  const names = files.map((file) => file.replace(/\.ts$/, "")).filter((name) => !["main", "bin"].includes(name));
  for (const name of names) {
    assert.equal((manifest.scripts as Record<string, string>)[name], `bun scripts/${name}.ts`);
  }
  const scripts = Object.entries(subCommandsOf(command));
  assert.deepEqual(scripts.map(([name]) => name).toSorted(), names.toSorted());
  for (const [name, load] of scripts) {
    assert.equal(typeof load, "function", `main.ts loads ${name} when it is asked for`);
    assert.deepEqual(await metaName(load as () => Promise<CommandDef>), name);
  }
});

test("the README's table lists every command, and scripts/README.md describes each", async () => {
  const names = await commandNames();
  assert.ok(names.length > 20);
  const listed = firstCellsOf(readme("README.md")).flatMap(
    (cell) => /^`([a-z-]+(?: [a-z-]+)?)`$/.exec(cell)?.[1] ?? [],
  );
  assert.deepEqual(listed.toSorted(), names.toSorted());
  const reference = readme("scripts/README.md").text;
  for (const name of names) {
    assert.match(reference, new RegExp(`^(\\| |#+ )\`${name}[^\`]*\``, "m"), `scripts/README.md describes ${name}`);
  }
});

test("scripts/README.md lists every exit code that a command uses", () => {
  const cells = firstCellsOf(readme("scripts/README.md")).filter((cell) => /^[\d`, ]+$/.test(cell));
  const listed = cells.flatMap((cell) => cell.match(/\d+/g) ?? []).map(Number);
  assert.deepEqual(
    listed.toSorted((a, b) => a - b),
    Object.values(exitCodes),
  );
});

test("each variable that the configuration reads is in a README and in .env.example", async () => {
  const config = await readFile(join(assetsDir, "scripts/lib/config.ts"), "utf8");
  const example = await readFile(join(assetsDir, ".env.example"), "utf8");
  const variables = [...config.matchAll(/\.setting\("([A-Z_]+)"/g)].map(([, name = ""]) => name);
  assert.ok(variables.length > 10);
  for (const variable of variables) {
    assert.ok(everything.includes(`\`${variable}\``), `a README has ${variable}`);
    assert.ok(example.includes(`\n#${variable}=`), `.env.example has ${variable}`);
  }
});

test("each decision record has a date and a status, and infrastructure/README.md lists it", async () => {
  const folder = "infrastructure/decisions";
  const records = (await readdir(join(assetsDir, folder))).toSorted();
  for (const record of records) {
    const text = await readFile(join(assetsDir, folder, record), "utf8");
    assert.match(text, /^# (\d{4}) .+\n\nDate: \d{4}-\d{2}-\d{2}\. Status: (accepted|superseded)/, record);
    assert.equal(text.slice(2, 6), record.slice(0, 4));
  }
  const listed = linksOf(readme("infrastructure/README.md")).filter((target) => /^decisions\/\d/.test(target));
  assert.deepEqual(
    [...new Set(listed)].toSorted(),
    records.map((record) => `decisions/${record}`),
  );
});

test("no line of a README is longer than 120 characters outside tables, and no cell longer than 60", () => {
  const tooLong: string[] = [];
  for (const one of readmes.values()) {
    for (const line of proseOf(one)) {
      const cells = cellsOf(line);
      const isTooLong = line.text.startsWith("|")
        ? cells?.some((cell, column) => cell.length > 60 && !isFunction(one, cell, column))
        : line.text.length > 120;
      if (isTooLong) tooLong.push(`${one.file}:${line.number}`);
    }
  }
  assert.deepEqual(tooLong, []);
});

/** A function and its parameters must be in one cell, because that table is compared with the database. */
function isFunction({ file }: Readme, cell: string, column: number): boolean {
  return file === "sql/README.md" && column === 0 && /^`[a-z_]+\(/.test(cell);
}

test("every relative link of a README leads to a file, and to a heading of it", async () => {
  const broken: string[] = [];
  for (const one of readmes.values()) {
    for (const target of linksOf(one)) {
      const [path = "", anchor] = target.split("#");
      const file = path === "" ? one.file : normalize(join(dirname(one.file), path));
      if (!(await leads(file, anchor))) broken.push(`${one.file}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

function linksOf(one: Readme): string[] {
  const text = proseOf(one).map((line) => line.text);
  const links = [...text.join("\n").matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$/gm)];
  return links.map(([, inline, reference]) => inline ?? reference ?? "").filter((target) => !/^[a-z]+:/.test(target));
}

async function leads(file: string, anchor: string | undefined): Promise<boolean> {
  const path = join(assetsDir, file);
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || anchor === undefined) return found !== undefined;
  return found.isFile() && anchorsOf({ file, text: await readFile(path, "utf8") }).has(anchor);
}

/** Every command as users type it; a default command has the name of its group. */
async function commandNames(): Promise<string[]> {
  const names: string[] = [];
  for (const [name, load] of Object.entries(subCommandsOf(command))) {
    const script = await (load as () => Promise<CommandDef>)();
    const parts = Object.keys(subCommandsOf(script));
    const { default: usual } = script as { readonly default?: string };
    if (parts.length === 0) names.push(name);
    names.push(...parts.map((part) => (part === usual ? name : `${name} ${part}`)));
  }
  return names;
}

function subCommandsOf(definition: CommandDef): Readonly<Record<string, unknown>> {
  return (definition.subCommands ?? {}) as Readonly<Record<string, unknown>>;
}

async function metaName(load: () => Promise<CommandDef>): Promise<string | undefined> {
  const { meta } = await load();
  return (meta as { readonly name?: string } | undefined)?.name;
}
