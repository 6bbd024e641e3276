// Has a correct database ready.
// Reads: configuration, sql/, infrastructure/postgres/config/. Writes: the stack directory, the database.
// Exits: 0 ready · 1 a SQL file failed · 2 configuration · 3 not ready · 4 schema drift · 5 locked · 6 login refused · 8 would move · 9 prerequisite · 124 timeout
import manifest from "../package.json" with { type: "json" };
import { defineScript } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { isBunInstalled } from "./lib/runtime.ts";

const npx = `npx --yes ${manifest.packageManager}`;

export const command = defineScript({
  meta: { name: "bootstrap", description: "Have a correct database ready: server, roles, schema, credentials" },
  args: stackFlags,
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { bootstrap } = await import("./lib/stack/bootstrap.ts");
    return bootstrap(loadConfig(args), { reporter, signal });
  },
  print({ url, isChanged }, output) {
    output.result(`${output.style("green", "ready")}${isChanged ? "" : " (nothing to change)"}  ${url}`);
    output.result('eval "$(bun run --silent status --env)"  puts the real one into the shell');
    if (!isBunInstalled()) output.result(`eval "$(${npx} run --silent status --env)"  does so without bun on the PATH`);
  },
});

if (import.meta.main) await runAsProcess(command);
