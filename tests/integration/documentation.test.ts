import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { assetsDir } from "../../scripts/lib/paths.ts";
import { denoPermissions } from "../support/runtime.ts";

const readme = await readFile(join(assetsDir, "README.md"), "utf8");
const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block.trimEnd().split("\n"));

test("the README opens with two commands for Node.js and two for Bun, with the Bun of package.json", () => {
  const bun = manifest.packageManager;
  assert.deepEqual(blocks[0], [`npx --yes ${bun} run setup`, `npx --yes ${bun} run test`]);
  assert.deepEqual(blocks[1], ["bun run setup", "bun run test"]);
  assert.equal(readme.indexOf("```"), readme.indexOf("```sh\nnpx"), "the first code block of all");
});

test("the README names the permissions that the tests give to Deno", () => {
  assert.deepEqual(blocks[2], [`deno run ${denoPermissions.join(" ")} scripts/<name>.ts`]);
});

test("each script has a command in package.json, a place in main.ts, and a line in the README", async () => {
  const main = await readFile(join(assetsDir, "scripts/main.ts"), "utf8");
  const files = (await readdir(join(assetsDir, "scripts"))).filter(
    (name) => name.endsWith(".ts") && name !== "main.ts",
  );
  for (const name of files.map((file) => file.replace(/\.ts$/, ""))) {
    assert.equal((manifest.scripts as Record<string, string>)[name], `bun scripts/${name}.ts`);
    const key = name.includes("-") ? `"${name}"` : name;
    assert.ok(main.includes(`    ${key}: () => import("./${name}.ts")`), `main.ts has ${name}`);
    assert.ok(new RegExp(`^\\| \`${name}( [a-z]+)?\` +\\|`, "m").test(readme), `the README has ${name}`);
  }
});

test("each variable that is read stands in the README and in .env.example", async () => {
  const config = await readFile(join(assetsDir, "scripts/lib/config.ts"), "utf8");
  const example = await readFile(join(assetsDir, ".env.example"), "utf8");
  const variables = [...config.matchAll(/\.setting\("([A-Z_]+)"/g)].map(([, name = ""]) => name);
  assert.ok(variables.length > 10);
  for (const variable of variables) {
    assert.ok(readme.includes(`\`${variable}\``), `the README has ${variable}`);
    assert.ok(example.includes(`\n#${variable}=`), `.env.example has ${variable}`);
  }
});
