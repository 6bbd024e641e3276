import manifest from "../package.json" with { type: "json" };
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";

/** Every script by name; each is loaded only when it runs. */
export const command = defineScriptGroup({
  meta: { name: manifest.name, version: manifest.version, description: `${manifest.description}.` },
  examples: [
    [runLine("bootstrap"), "Start a database"],
    [runLine("seed"), "Fill it with demo data"],
    [runLine("backup --help"), "Show the help of a command"],
  ],
  subCommands: {
    init: () => import("./init.ts").then((script) => script.command),
    bootstrap: () => import("./bootstrap.ts").then((script) => script.command),
    status: () => import("./status.ts").then((script) => script.command),
    verify: () => import("./verify.ts").then((script) => script.command),
    doctor: () => import("./doctor.ts").then((script) => script.command),
    psql: () => import("./psql.ts").then((script) => script.command),
    logs: () => import("./logs.ts").then((script) => script.command),
    stop: () => import("./stop.ts").then((script) => script.command),
    destroy: () => import("./destroy.ts").then((script) => script.command),
    reset: () => import("./reset.ts").then((script) => script.command),
    seed: () => import("./seed.ts").then((script) => script.command),
    projections: () => import("./projections.ts").then((script) => script.command),
    secrets: () => import("./secrets.ts").then((script) => script.command),
    "wait-for": () => import("./wait-for.ts").then((script) => script.command),
    schema: () => import("./schema.ts").then((script) => script.command),
    backup: () => import("./backup.ts").then((script) => script.command),
    restore: () => import("./restore.ts").then((script) => script.command),
  },
});

if (import.meta.main) await runAsProcess(command);
