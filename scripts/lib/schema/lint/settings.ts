import type { Node } from "libpg-query";
import { constantText, findAll, nameParts, treeOf } from "./tree.ts";

/** A setting that a statement changes. */
export interface SettingChange {
  /** In lower case; `all` for RESET ALL and DISCARD ALL. */
  readonly name: string;
  /** Undefined if it is reset, or not constant. */
  readonly values: readonly string[] | undefined;
  readonly isReset: boolean;
  readonly isLocal: boolean;
}

/** @returns the settings that SET, RESET, DISCARD ALL and calls of set_config() change */
export function settingChanges(node: Node): SettingChange[] {
  const set = treeOf(node, "VariableSetStmt");
  const isDiscard = treeOf(node, "DiscardStmt")?.target === "DISCARD_ALL";
  if (isDiscard || set?.kind === "VAR_RESET_ALL")
    return [{ name: "all", values: undefined, isReset: true, isLocal: false }];
  if (set === undefined) return calls(node);
  const values = set.args?.map((value) => constantText(value) ?? "");
  const isReset = set.kind === "VAR_RESET" || set.kind === "VAR_SET_DEFAULT";
  return [{ name: (set.name ?? "").toLowerCase(), values, isReset, isLocal: set.is_local === true }];
}

function calls(node: Node): SettingChange[] {
  const found = findAll(node, "FuncCall").filter(({ funcname }) => nameParts(funcname?.at(-1))[0] === "set_config");
  return found.map(({ args = [] }) => {
    const [name = "", value, isLocal] = args.map(constantText);
    const values = value?.split(",").map((part) => part.trim().replaceAll('"', ""));
    return { name: name.toLowerCase(), values, isReset: false, isLocal: isLocal === "true" };
  });
}
