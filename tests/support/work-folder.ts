import { readFile, statfs } from "node:fs/promises";
import { freemem, tmpdir } from "node:os";
import process from "node:process";
import type { TestFile } from "./test-file.ts";

/** Read once, because the runner then sets TMPDIR to the chosen folder. */
const [chosenFolder, diskFolder] = [process.env["TMPDIR"], tmpdir()];
const memoryFolder = "/dev/shm";
/** Four lanes need 0.5 GB; the rest is for the servers themselves and for other programs. */
const requiredBytes = 4e9;

/**
 * Chooses the folder for the data of test servers: TMPDIR if it is set, otherwise memory if there is room. A run writes
 * 10 GB and syncs often, which is much slower on a disk, and no test cuts the power. Deno allows no access below `/dev`.
 */
export async function chooseWorkFolder(runtime: TestFile["runtime"]): Promise<string> {
  if (chosenFolder !== undefined) return chosenFolder;
  return runtime !== "deno" && (await canHoldServers(memoryFolder)) ? memoryFolder : diskFolder;
}

async function canHoldServers(folder: string): Promise<boolean> {
  const mounts = await readFile("/proc/mounts", "utf8").catch(() => "");
  const fields = mounts.split("\n").map((line) => line.split(" "));
  const [, , type, options = ""] = fields.findLast(([, path]) => path === folder) ?? [];
  if (type !== "tmpfs" || options.split(",").includes("noexec")) return false;
  const { bavail, bsize } = await statfs(folder);
  return Math.min(bavail * bsize, freemem()) >= requiredBytes;
}
