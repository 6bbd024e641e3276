import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { test } from "node:test";
import { append, placed } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { runtimeCommand } from "../support/runtime.ts";

const hasTerminals = process.platform === "linux" && spawnSync("script", ["--version"]).status === 0;
const skip = !hasTerminals && "needs the program script of util-linux";
const wipe = "\r\u001b[2K";

for (const columns of [0, 40, 80]) {
  test(`backup and restore wipe their progress line on a terminal of ${columns} columns`, { skip }, async () => {
    await using archives = await withArchives();
    await append(archives.database.sql, { events: Array.from({ length: 500 }, () => placed) });
    for (const words of [
      ["backup", "--to", archives.folder],
      ["restore", "latest", "--from", archives.folder, "--yes", "--drop-old"],
    ]) {
      const seen = await runOnTerminal(archives, words, columns);
      const drawn = seen.split(wipe).slice(1);
      const lines = drawn.slice(0, -1);
      assert.ok(
        lines.some((line) => line.startsWith(`${words[0]}  `)),
        seen,
      );
      for (const line of lines) assert.ok(line.length < (columns || 80), JSON.stringify(line));
      assert.match(drawn.at(-1) ?? "", words[0] === "backup" ? /^\/.* rows of / : /^restored \d+ rows/);
    }
  });
}

async function runOnTerminal({ database }: ArchiveTest, words: readonly string[], columns: number): Promise<string> {
  const [name, ...args] = words;
  const line = [...runtimeCommand(`scripts/${name}.ts`), ...args, "--no-color"].join(" ");
  const { PATH = "", HOME = "" } = process.env;
  const env = { PATH, HOME, TERM: "xterm", CQRS_STACK_DIR: database.stackDir, POSTGRES_DB: database.name };
  const child = spawn("script", ["-qec", `stty cols ${columns}; exec ${line}`, "/dev/null"], { env });
  let seen = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    seen += text;
  });
  const [code] = await once(child, "close");
  assert.equal(code, 0, seen);
  return seen;
}
