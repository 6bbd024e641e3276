import { constants } from "node:fs";
import { access, stat, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { backupsDir } from "../../backup/backups-dir.ts";
import { formatBytes } from "../../cli/format.ts";
import { runLine } from "../../cli/run-line.ts";
import { errorCode } from "../../postgres/failure.ts";
import type { Stack } from "../../stack/stack.ts";
import type { DoctorContext, DoctorLimits, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** The file systems that the stack writes to. */
export const hostProbe: Probe = { area: "host", find: findHostProblems };

interface Place {
  /** What is written there. */
  readonly use: string;
  /** A folder that exists. */
  readonly folder: string;
  readonly minFreeBytes: number;
}

interface Disk extends Place {
  readonly freeBytes: number;
  /** Undefined if the file system has no limit. */
  readonly freeFiles: number | undefined;
}

async function findHostProblems({ config, stack, limits }: DoctorContext): Promise<readonly Finding[]> {
  const found = await stack().catch(() => undefined);
  const places = await Promise.all([
    ...(found === undefined || found.mode === "external" ? [] : ofStack(found, limits)),
    existing("state and secrets", config.stackDir, limits.minFreeTempBytes),
    existing("temporary files", tmpdir(), limits.minFreeTempBytes),
  ]);
  const disks = await Promise.all(places.map(readDisk));
  const full = disks.filter((disk) => isFull(disk, limits));
  return [...unique(full).map(diskFull), ...unique(await findReadOnly(places)).map(readOnly)];
}

function ofStack(stack: Stack, limits: DoctorLimits): Promise<Place>[] {
  const data = stack.mode === "embedded" ? [existing("data", stack.dataDir, limits.minFreeBytes)] : [];
  return [...data, existing("backups", backupsDir(stack), limits.minFreeTempBytes)];
}

/** What does not exist yet will be created in the nearest folder that does. */
async function existing(use: string, folder: string, minFreeBytes: number): Promise<Place> {
  const isThere = await stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const parent = dirname(folder);
  return isThere || parent === folder ? { use, folder, minFreeBytes } : existing(use, parent, minFreeBytes);
}

async function readDisk(place: Place): Promise<Disk> {
  const { bavail, bsize, files, ffree } = await statfs(place.folder);
  return { ...place, freeBytes: bavail * bsize, freeFiles: files === 0 ? undefined : ffree };
}

function isFull({ freeBytes, freeFiles, minFreeBytes }: Disk, { minFreeFiles }: DoctorLimits): boolean {
  return freeBytes < minFreeBytes || (freeFiles !== undefined && freeFiles < minFreeFiles);
}

async function findReadOnly(places: readonly Place[]): Promise<Place[]> {
  const tried = places.map(async (place) => {
    const error = await access(place.folder, constants.W_OK).catch((reason: unknown) => reason);
    return errorCode(error) === "EROFS" ? [place] : [];
  });
  return (await Promise.all(tried)).flat();
}

/** One finding per folder: the data may be where the state is. */
function unique<Item extends Place>(places: readonly Item[]): Item[] {
  return places.filter(({ folder }, index) => places.findIndex((one) => one.folder === folder) === index);
}

function diskFull({ use, folder, freeBytes, freeFiles }: Disk): Finding {
  const files = freeFiles === undefined ? "" : `, and room for ${freeFiles} more files`;
  const isTemp = folder === tmpdir();
  return {
    id: "disk-full",
    symptom: isTemp ? "does-not-start" : "data-at-risk",
    cause: `The disk for ${use} is full, or nearly full.`,
    evidence: `${folder}: ${formatBytes(freeBytes)} free${files}`,
    fix: isTemp
      ? "Free some space there, or set TMPDIR to another folder."
      : `Free some space. ${runLine("backup prune")} deletes old archives. PostgreSQL stops if the disk is full.`,
  };
}

function readOnly({ use, folder }: Place): Finding {
  return {
    id: "file-system-read-only",
    symptom: "does-not-start",
    cause: `The file system for ${use} is read-only.`,
    evidence: `${folder}: writing is refused (EROFS)`,
    fix: "Mount it for writing (mount -o remount,rw), or set CQRS_STACK_DIR to a folder on another one.",
  };
}
