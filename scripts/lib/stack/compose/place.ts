import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import type { Config } from "../../config.ts";
import { assetsDir, isClone } from "../../paths.ts";
import type { StackState } from "../state.ts";

/** How compose is told whose stack it works on. */
export interface ComposePlace {
  /** Where `docker` runs. */
  readonly workingDir: string;
  /** The folder that compose labels the containers with: that of this stack, and of no other. */
  readonly directory: string;
  /** Options of `docker compose`. */
  readonly options: readonly string[];
  /** Variables that docker-compose.yml reads, and nobody else sets. */
  readonly variables: Readonly<Record<string, string>>;
  readonly backupsDir: string;
}

/**
 * A clone's own stack is that of `docker compose`, typed in the clone's folder. The stack of another project has names
 * of its own, and shares the files of the product with other projects.
 */
export function composePlace(config: Config, remembered: StackState | undefined): ComposePlace {
  if (isClone && config.projectDir === assetsDir) return clonePlace;
  const { projectDir, stackDir } = config;
  const dotEnvFile = join(projectDir, ".env");
  const backupsDir = join(stackDir, "postgres/backups");
  const files = ["--project-directory", stackDir, "--file", join(assetsDir, "docker-compose.yml")];
  return {
    workingDir: projectDir,
    directory: stackDir,
    options: [...files, ...(existsSync(dotEnvFile) ? ["--env-file", dotEnvFile] : [])],
    variables: {
      CQRS_COMPOSE_NAME: remembered?.compose?.name ?? nameOf(config),
      CQRS_COMPOSE_ASSETS: assetsDir,
      CQRS_COMPOSE_BACKUPS: backupsDir,
      CQRS_COMPOSE_CODE: isClone ? "scripts" : "dist",
    },
    backupsDir,
  };
}

const clonePlace: ComposePlace = {
  workingDir: assetsDir,
  directory: assetsDir,
  options: [],
  variables: {},
  backupsDir: join(assetsDir, "infrastructure/postgres/backups"),
};

/** Compose allows a to z, digits, `-` and `_`. */
function nameOf({ projectDir, stackDir }: Config): string {
  const words = basename(projectDir)
    .toLowerCase()
    .match(/[a-z0-9_]+/g) ?? ["cqrs"];
  const name = words.join("-").replace(/^_+/, "").slice(0, 40);
  return `${name || "cqrs"}-${createHash("sha256").update(stackDir).digest("hex").slice(0, 6)}`;
}
