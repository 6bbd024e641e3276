import manifest from "../../../package.json" with { type: "json" };
import type { ArgDefinitions, Flag, Positional } from "./args.ts";
import type { Example, ScriptCommand } from "./define-script.ts";
import { sharedFlags, spellings } from "./flags.ts";
import { formatColumns, wrapText } from "./format.ts";
import { defaultOf, loadCommand, metaOf, subcommandsOf } from "./resolve-command.ts";
import { runLine } from "./run-line.ts";

/** A row of a help page: what to type, and what it means. */
interface HelpRow {
  readonly name: string;
  readonly description: string;
}

/** The help of a command, as `--help --json` prints it. */
export interface HelpPage {
  readonly name: string;
  readonly description: string;
  readonly usage: readonly string[];
  readonly commands: readonly HelpRow[];
  readonly arguments: readonly HelpRow[];
  readonly flags: readonly HelpRow[];
  readonly globalFlags: readonly HelpRow[];
  readonly examples: readonly HelpRow[];
}

/** The default width of a terminal. */
const pageWidth = 80;

/** Collects the help of a command. A group with a default command shows the arguments of that command. */
export async function describeCommand(command: ScriptCommand, name: string): Promise<HelpPage> {
  const fallback = await defaultOf(command);
  const definitions = (fallback?.command ?? command).definitions;
  const entries = Object.entries(definitions);
  return {
    name,
    description: metaOf(command).description ?? "",
    usage: usageOf(command, name, definitions),
    commands: await commandRows(command, fallback?.name),
    arguments: entries.flatMap(([key, one]) => (one.type === "positional" ? [argumentRow(key, one)] : [])),
    flags: entries.flatMap(([key, one]) => (isOwnFlag(key, one) ? flagRows(key, one) : [])),
    globalFlags: Object.entries(sharedFlags).flatMap(([key, one]) => (key === "yes" ? [] : flagRows(key, one))),
    examples: command.examples.map(exampleRow),
  };
}

/** Renders a help page for a terminal of 80 columns. */
export function renderHelp(page: HelpPage, heading: (text: string) => string): string {
  const section = (title: string, rows: readonly HelpRow[]) => {
    if (rows.length === 0) return [];
    const pairs = rows.map(({ name, description }) => [name, description] as const);
    return ["", heading(title), formatColumns(pairs, pageWidth)];
  };
  return [
    wrapText(page.description, pageWidth).join("\n"),
    "",
    heading("USAGE"),
    ...page.usage.map((line) => `  ${line}`),
    ...section("COMMANDS", page.commands),
    ...section("ARGUMENTS", page.arguments),
    ...section("FLAGS", page.flags),
    ...section("GLOBAL FLAGS", page.globalFlags),
    ...section("EXAMPLES", page.examples),
  ].join("\n");
}

function usageOf(command: ScriptCommand, name: string, definitions: ArgDefinitions): string[] {
  const program = runLine(name === manifest.name ? "" : name);
  const subcommands = subcommandsOf(command);
  const words = Object.entries(definitions).flatMap(([key, one]) =>
    one.type === "positional" ? [`[${one.valueHint ?? key}]`] : [],
  );
  const own = [program, "[flags]", ...words].join(" ");
  if (subcommands === undefined) return [own];
  const group = `${program} <command> [flags]`;
  return command.default === undefined ? [group] : [own, group];
}

async function commandRows(command: ScriptCommand, defaultName: string | undefined): Promise<HelpRow[]> {
  const rows = Object.entries(subcommandsOf(command) ?? {}).map(async ([name, found]) => {
    const { description = "" } = metaOf(await loadCommand(found));
    return { name, description: name === defaultName ? `${description} (default)` : description };
  });
  return Promise.all(rows);
}

function argumentRow(key: string, { description, valueHint, ...others }: Positional): HelpRow {
  return { name: valueHint ?? key, description: withDefault(description, others.default) };
}

/** A flag is a script's own if the script defines or redefines it, such as `--yes` of scripts that ask. */
function isOwnFlag(key: string, definition: Flag | Positional): definition is Flag {
  return definition.type !== "positional" && definition !== (sharedFlags as ArgDefinitions)[key];
}

function flagRows(key: string, flag: Flag): HelpRow[] {
  if (flag.type !== "boolean") {
    const variable = flag.type === "string" && flag.setting !== undefined ? ` (${flag.setting})` : "";
    return [
      {
        name: `${spellings(key, flag).join(", ")} <${hintOf(flag)}>`,
        description: withDefault(flag.description + variable, flag.default),
      },
    ];
  }
  const names = spellings(key, flag);
  if (flag.negativeDescription === undefined) return [{ name: names.join(", "), description: flag.description }];
  const [negative] = names.splice(-1);
  return [
    { name: names.join(", "), description: flag.description },
    { name: negative ?? "", description: flag.negativeDescription },
  ];
}

function hintOf(flag: Exclude<Flag, { readonly type: "boolean" }>): string {
  if (flag.type === "string") return flag.valueHint;
  return flag.type === "choice" ? flag.options.join("|") : flag.type;
}

function withDefault(description: string, defaultValue: string | undefined): string {
  return defaultValue === undefined ? description : `${description} (default: ${defaultValue})`;
}

function exampleRow([line, effect]: Example): HelpRow {
  return { name: line, description: effect };
}
