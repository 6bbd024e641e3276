import { stat } from "node:fs/promises";
import { errorCode } from "../postgres/failure.ts";
import { type Finding, notYet, usable, type WaitTarget } from "./target.ts";

/** A file or folder that exists. */
export function fileTarget(path: string): WaitTarget {
  return { name: `file:${path}`, probe: () => probeFile(path) };
}

async function probeFile(path: string): Promise<Finding> {
  try {
    await stat(path);
    return usable;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errorCode(error))) return notYet("it does not exist");
    throw error;
  }
}
