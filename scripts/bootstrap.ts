// Sets up the server, roles, schema and credentials.
// Reads: configuration, sql/, infrastructure/postgres/config/. Writes: the stack directory, the database.
// Exits: 0 ready · 1 a SQL file failed · 2 configuration · 3 not ready · 4 schema drift · 5 locked · 6 login refused ·
// 8 running on another port, another cluster or stack, refused without --yes · 9 prerequisite · 124 timeout

import manifest from "../package.json" with { type: "json" };
import { stackFlags, yesFlag } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine, silentRunLine } from "./lib/cli/run-line.ts";
import { isClone, isInImage } from "./lib/paths.ts";
import { isBunInstalled } from "./lib/runtime.ts";
import { defineConfiguredScript } from "./lib/stack/define-stack-script.ts";

const npx = `npx --yes ${manifest.packageManager}`;
/** The URL above has the address for containers. */
const composeShow = "docker compose run --rm -T -e CQRS_SECRET=database-local init secrets show --reveal";
const { mode, port, database, user, timeout, secrets } = stackFlags;

const adopt = {
  type: "boolean",
  description: "Make the cluster in the folder the one of this stack: a copy, a restored or a new one",
} as const;

export const command = defineConfiguredScript({
  meta: { name: "bootstrap", description: "Sets up the server, roles, schema and credentials. Idempotent." },
  args: { mode, port, database, user, timeout, secrets, adopt, yes: yesFlag },
  examples: [
    [runLine("bootstrap"), "Start the embedded server, and create or repair what is missing"],
    [runLine("bootstrap --port 5432"), "Use this port; stop the server first"],
    [runLine("bootstrap --database orders"), "Point applications to another database, after asking"],
    [runLine("bootstrap --secrets vault"), "Keep credentials in a local Vault"],
    [runLine("bootstrap --adopt"), "Make a copied folder a stack of its own"],
    [runLine("bootstrap --mode external"), "Use the server of DATABASE_URL"],
  ],
  async run({ args, config, confirm, ...run }) {
    const { bootstrap } = await import("./lib/stack/bootstrap.ts");
    return bootstrap(config, run, { adopt: args.adopt, confirm });
  },
  print({ url, isChanged }, output) {
    output.result(`${output.style("green", "ready")}${isChanged ? "" : " (nothing to change)"}  ${url}`);
    if (isClone && isInImage()) return output.result(`${composeShow}  shows it with the password, for the host`);
    output.result(`eval "$(${silentRunLine("status")} --env)"  exports it with the password`);
    if (isClone && !isBunInstalled())
      output.result(`eval "$(${npx} run --silent status --env)"  does the same without bun on the PATH`);
  },
});

if (import.meta.main) await runAsProcess(command);
