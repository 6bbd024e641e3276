import { join } from "node:path";
import type { Stack } from "../stack/stack.ts";

/** @returns the folder in which a stack keeps its archives */
export function backupsDir(stack: Stack): string {
  return join(stack.stackDir, "postgres/backups");
}
