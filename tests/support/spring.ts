import { spawn, spawnSync } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { vaultSkip } from "./vault.ts";

/** The result of a program. */
export interface SpringRun {
  readonly exitCode: number | null;
  /** stdout and stderr. */
  readonly output: string;
}

/** An application built with our `application.yml`. Disposing of it removes its folder. */
export interface SpringApplication extends AsyncDisposable {
  /** Starts it with these variables and no other configuration. */
  run(env: Readonly<Record<string, string>>): Promise<SpringRun>;
}

/** Why tests of Spring Boot are skipped; false if they can run. */
export const springSkip: string | false = findReason();

/** Builds the application in tests/support/spring; Maven downloads what it needs into its own cache. */
export async function buildSpringApplication(): Promise<SpringApplication> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-spring-"));
  await cp(join(assetsDir, "tests/support/spring"), folder, { recursive: true });
  const configuration = `-Dcqrs.configuration=${join(assetsDir, "infrastructure/spring")}`;
  const built = await runProgram("mvn", ["-q", "-B", configuration, "package"], folder, {});
  if (built.exitCode !== 0) throw new Error(`Maven exited with ${built.exitCode}\n${built.output}`);
  return {
    run: (env) => runProgram("java", ["-jar", join(folder, "target/spring-example.jar")], folder, env),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

function findReason(): string | false {
  const { CQRS_TEST_SPRING, CQRS_TEST_ROUNDS } = process.env;
  if (!CQRS_TEST_SPRING && !CQRS_TEST_ROUNDS) return "takes half a minute: set CQRS_TEST_SPRING=1, or run a soak test";
  for (const program of ["java", "mvn"]) {
    if (spawnSync(program, ["-version"], { stdio: "ignore" }).status !== 0) return `${program} is not installed`;
  }
  return vaultSkip;
}

function runProgram(program: string, args: string[], cwd: string, env: Record<string, string>): Promise<SpringRun> {
  const { PATH = "", HOME = "", JAVA_HOME = "" } = process.env;
  const inherited = { PATH, HOME, ...(JAVA_HOME === "" ? {} : { JAVA_HOME }) };
  const child = spawn(program, args, { cwd, env: { ...inherited, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => resolve({ exitCode, output }));
  });
}
