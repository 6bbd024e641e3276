import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { mustRun, run, until } from "../support/compose.ts";

/** A Docker Engine with compose v2. Disposing of it stops what was started for it. */
export interface Engine extends AsyncDisposable {
  readonly version: string;
  readonly composeVersion: string;
  /** Where the engine comes from. */
  readonly origin: string;
  /** Variables with which `docker` finds it. */
  readonly env: Readonly<Record<string, string>>;
  /** A folder for temporary files. */
  readonly folder: string;
}

/**
 * Finds a running engine, or starts one if this is root and Debian's docker.io is installed.
 *
 * @throws {Error} saying what is missing
 */
export async function withEngine(): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-compose-"));
  const config = process.env["DOCKER_CONFIG"] ?? join(folder, "config");
  const given = { ...environment(), DOCKER_CONFIG: config };
  const isRunning = (await run("docker", ["info"], { env: given })).exitCode === 0;
  const daemon = isRunning ? undefined : await startDaemon(folder);
  const env = { DOCKER_CONFIG: config, ...(daemon === undefined ? {} : { DOCKER_HOST: daemon.host }) };
  const dispose = async () => {
    await daemon?.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const all = { ...given, ...env };
    await provideCompose(folder, config, all);
    const ask = async (...words: string[]) => mustRun(words.join(" "), await run("docker", words, { env: all })).trim();
    return {
      version: await ask("version", "--format", "{{.Server.Version}}"),
      composeVersion: await ask("compose", "version", "--short"),
      origin: daemon === undefined ? "already running" : "started for this run",
      env,
      folder,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function startDaemon(folder: string): Promise<{ readonly host: string; stop(): Promise<void> }> {
  const host = `unix://${folder}/docker.sock`;
  const logFile = join(folder, "dockerd.log");
  const words = ["--host", host, "--data-root", join(folder, "data"), "--exec-root", join(folder, "exec")];
  const script = `exec dockerd "$@" >${logFile} 2>&1`;
  const all = ["-c", script, "sh", ...words, "--pidfile", join(folder, "pid")];
  const child: ChildProcess = spawn("sh", all, { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const stop = async () => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(child.pid, "SIGTERM");
    await ended;
  };
  try {
    // One test calls docker as another user.
    await chmod(folder, 0o711);
    await until("dockerd answers", async () => {
      if (child.exitCode !== null) throw new Error("dockerd has exited");
      return (await run("docker", ["info"], { env: { ...environment(), DOCKER_HOST: host } })).exitCode === 0;
    });
    return { host, stop };
  } catch (error) {
    await stop();
    const log = await readFile(logFile, "utf8").catch(() => "");
    const need =
      "No Docker Engine is running, and none could be started: that requires root, and Debian's docker.io and iptables.";
    throw new Error(`${need}\n${(error as Error).message}\n${log.split("\n").slice(-15).join("\n")}`);
  }
}

/** Debian's engine lacks compose v2; the plugin is a single file from a package of the next release. */
async function provideCompose(folder: string, config: string, env: Readonly<Record<string, string>>): Promise<void> {
  if ((await run("docker", ["compose", "version"], { env })).exitCode === 0) return;
  const cached = join(cacheFolder(), "docker-compose");
  if (!existsSync(cached)) await downloadCompose(folder, cached);
  await mkdir(join(config, "cli-plugins"), { recursive: true });
  await cp(cached, join(config, "cli-plugins/docker-compose"));
}

async function downloadCompose(folder: string, file: string): Promise<void> {
  const apt = join(folder, "apt");
  await mkdir(join(apt, "lists/partial"), { recursive: true });
  await mkdir(join(apt, "cache/archives/partial"), { recursive: true });
  await writeFile(join(apt, "sources.list"), `deb ${await ownMirror()} trixie main\n`);
  const settings = [`Dir::Etc::SourceList=${apt}/sources.list`, "Dir::Etc::SourceParts=/dev/null"];
  settings.push(`Dir::State::Lists=${apt}/lists`, `Dir::Cache=${apt}/cache`, "APT::Sandbox::User=root");
  const options = settings.flatMap((setting) => ["-o", setting]);
  mustRun("apt-get update", await run("apt-get", [...options, "update", "-q"]));
  mustRun("apt-get download", await run("apt-get", [...options, "download", "-q", "docker-compose"], { cwd: apt }));
  mustRun("dpkg -x", await run("sh", ["-c", "dpkg -x docker-compose_*.deb unpacked"], { cwd: apt }));
  await mkdir(cacheFolder(), { recursive: true });
  await cp(join(apt, "unpacked/usr/libexec/docker/cli-plugins/docker-compose"), file);
  await chmod(file, 0o755);
}

/** @returns the package mirror of this machine */
async function ownMirror(): Promise<string> {
  const { stdout } = await run("apt-get", ["indextargets", "--format", "$(REPO_URI)"]);
  const mirror = stdout.split("\n").find((uri) => uri !== "" && !uri.includes("security"));
  if (mirror === undefined) throw new Error("apt has no package source from which compose v2 could be downloaded");
  return mirror;
}

/** The folder for what the tests download or build once. */
export function cacheFolder(): string {
  const { CQRS_TEST_CACHE, XDG_CACHE_HOME } = process.env;
  return CQRS_TEST_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "cqrs-postgres");
}

function environment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => !!entry[1]));
}
