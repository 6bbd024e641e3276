import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";

const tailBytes = 64_000;

/**
 * Finds out from the log why the last start of a server failed.
 *
 * @returns the lines that say it; undefined if the start succeeded, or nothing is known
 */
export async function readStartFailure(dataDir: string): Promise<string | undefined> {
  const logDir = join(dataDir, "log");
  const early = await readTail(join(logDir, "start.log"));
  // The server writes to the other files only after it has read its settings.
  return reasonIn(early) ?? reasonIn(lastStart(await readTail(await findNewest(logDir))));
}

/** @returns the end of what the server has logged since its last start, which may have failed */
export async function readLogSinceStart(dataDir: string): Promise<string> {
  const startLog = join(dataDir, "log/start.log");
  const early = await readTail(startLog);
  const daily = await findNewest(join(dataDir, "log"));
  // Each start truncates start.log. The server writes to the other files last, if it gets that far.
  const isOlder = (await timeOf(daily)) < (await timeOf(startLog));
  return isOlder || reasonIn(early) !== undefined ? early : early + sinceStart(await readTail(daily));
}

function sinceStart(log: string): string {
  return log.slice(Math.max(0, log.lastIndexOf("starting PostgreSQL")));
}

/** @returns what the log says since the server was started; "" if the start succeeded */
function lastStart(log: string): string {
  const text = sinceStart(log);
  return text.includes("database system is ready to accept") ? "" : text;
}

/** The line before the error often names the cause, such as the setting; those after it, the details. */
function reasonIn(log: string): string | undefined {
  const lines = log.split("\n").filter((line) => line !== "");
  const at = lines.findIndex((line) => /(FATAL|PANIC): /.test(line));
  if (at < 0) return undefined;
  const shown = lines.slice(Math.max(at - 1, 0), at + 3).filter((line) => !line.includes("is shut down"));
  return shown.map((line) => line.replace(/^\S+ \S+ \S+ \[\d+\] /, "")).join("\n");
}

async function findNewest(logDir: string): Promise<string> {
  const names = await readdir(logDir).catch(() => []);
  const daily = names.filter((name) => name.startsWith("postgresql-"));
  const files = await Promise.all(
    daily.map(async (name) => ({ file: join(logDir, name), time: await timeOf(join(logDir, name)) })),
  );
  return files.toSorted((one, other) => other.time - one.time)[0]?.file ?? logDir;
}

async function timeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;
}

async function readTail(file: string): Promise<string> {
  try {
    await using log = await open(file);
    const { size } = await log.stat();
    const { buffer, bytesRead } = await log.read(Buffer.alloc(tailBytes), 0, tailBytes, Math.max(0, size - tailBytes));
    return buffer.toString("utf8", 0, bytesRead);
  } catch {
    return "";
  }
}
