import type { ArgDefinitions } from "../cli/args.ts";
import { defineScript, type ScriptCommand, type ScriptContext, type ScriptDefinition } from "../cli/define-script.ts";
import { sharedFlags } from "../cli/flags.ts";
import type { Config, ConfigFlags } from "../config.ts";
import type { Stack } from "./stack.ts";

// Configuration and stack are loaded only when a script runs, so that help need not wait for them.

interface WithConfig {
  readonly config: Config;
}

interface WithStack extends WithConfig {
  readonly stack: Stack;
}

/** A script whose `run` receives more than {@link ScriptDefinition} provides. */
type ExtendedDefinition<Args extends ArgDefinitions, Data, Extra> = Omit<ScriptDefinition<Args, Data>, "run"> & {
  run(context: ScriptContext<Args> & Extra): Promise<Data>;
};

/** Defines a script that receives the checked configuration. */
export function defineConfiguredScript<const Args extends ArgDefinitions, Data>(
  script: ExtendedDefinition<Args, Data, WithConfig>,
): ScriptCommand {
  return defineScript({
    ...script,
    async run(context: ScriptContext<Args>) {
      const { loadConfig } = await import("../config.ts");
      const config = loadConfig(settingsOf(context.args, { ...sharedFlags, ...script.args }));
      for (const warning of config.warnings) context.reporter.warn(warning);
      return script.run({ ...context, config });
    },
  });
}

/**
 * Defines a script that receives the stack that the configuration refers to. Opening the stack changes nothing.
 *
 * @param script.isLocal whether it uses only the stack's own folder, whose cluster may then be another one
 */
export function defineStackScript<const Args extends ArgDefinitions, Data>(
  script: ExtendedDefinition<Args, Data, WithStack> & { readonly isLocal?: true },
): ScriptCommand {
  return defineConfiguredScript({
    ...script,
    async run(context: ScriptContext<Args> & WithConfig) {
      const { findStack, openStack } = await import("./stack.ts");
      const open = script.isLocal ? findStack : openStack;
      const stack = await open(context.config);
      const { reportSkew } = await import("./skew.ts");
      reportSkew(stack.remembered, context.reporter);
      return script.run({ ...context, stack });
    },
  });
}

/** The flags that override settings. */
export function settingsOf(args: Readonly<Record<string, unknown>>, definitions: ArgDefinitions): ConfigFlags {
  return Object.fromEntries(Object.entries(args).filter(([name]) => "setting" in (definitions[name] ?? {})));
}
